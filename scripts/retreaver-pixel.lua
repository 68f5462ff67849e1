-- Retreaver-style pixel: their parameter names, made from ours with map and formatters.
return {
  on = { "call.completed" },
  request = {
    method = "GET",
    url = "https://retreaver.example/api/v1/calls/update.json?key=[SECRET:RETREAVER_KEY]&caller_number=[CALLER_ID:noplus]"
      .. "&converted=[CONVERTED:map(true=1,false=0)]&revenue=[REVENUE_PAID_OUT:round(1)]&by=[CALL_TERMINATION_BY:lower]",
  },
  tests = {
    { name = "values are mapped", secrets = { RETREAVER_KEY = "k" },
      event = { type = "call.completed", CALLER_ID = "+13105559876", CONVERTED = "true", REVENUE_PAID_OUT = "35.25", CALL_TERMINATION_BY = "CALLER" },
      expect = { method = "GET" } },
  },
}
