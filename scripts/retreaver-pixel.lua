-- Retreaver-style data writing: their parameter names, made from ours with map and formatters.
return {
  on = { "call.completed" },
  request = {
    method = "GET",
    url = "https://retreaverdata.example/data_writing?key=[SECRET:RETREAVER_KEY]&caller_number=[CALLER_ID:e164]"
      .. "&converted=[CONVERTED:map(true=1,false=0)]&revenue=[REVENUE_PAID_OUT:round(1)]&ended_by=[CALL_TERMINATION_BY:lower]",
  },
  tests = {
    { name = "values are mapped, rounded and lower case",
      event = { type = "call.completed", CALLER_ID = "+13105559876", CONVERTED = "true", REVENUE_PAID_OUT = "35.25",
        CALL_TERMINATION_BY = "CALLER" },
      expect = { method = "GET", url = "https://retreaverdata.example/data_writing?key=[SECRET:RETREAVER_KEY]&caller_number=%2B13105559876"
        .. "&converted=1&revenue=35.3&ended_by=caller" } },
  },
}
