-- Conditions without Lua: `when` is decided in C, before any script is entered.
return {
  on = { "call.completed" },
  when = { CONVERTED = "true", DURATION = { ">=", 30 }, CALLER_STATE = { "in", "CA", "TX", "FL" } },
  request = { method = "GET", url = "https://pixel.example/hit?call=[CALL_ID]&state=[CALLER_STATE]" },
  tests = {
    { name = "all conditions met", event = { type = "call.completed", CALL_ID = "c1", CONVERTED = "true", DURATION = "30", CALLER_STATE = "TX" },
      expect = { method = "GET", url = "https://pixel.example/hit?call=c1&state=TX" } },
    { name = "too short", event = { type = "call.completed", CONVERTED = "true", DURATION = "29", CALLER_STATE = "TX" }, expect = "filtered" },
  },
}
