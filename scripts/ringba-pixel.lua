-- Ringba-style pixel: a GET with everything in the query, unknown values left out.
return {
  on = { "call.connected", "call.completed" },
  missing = "omit",
  request = {
    method = "GET",
    url = "https://display.ringba.example/enrich/[ORG_ID]?callerid=[CALLER_ID]&call=[INBOUND_CALL_ID|CALL_ID]"
      .. "&duration=[DURATION]&zip=[CALLER_ZIP]&event=[EVENT]",
  },
  tests = {
    { name = "a parameter without a value is left out",
      event = { type = "call.connected", ORG_ID = "9", CALLER_ID = "+13105559876", CALL_ID = "c1", CALLER_ZIP = "90001" },
      expect = { method = "GET",
        url = "https://display.ringba.example/enrich/9?callerid=%2B13105559876&call=c1&zip=90001&event=call.connected" } },
  },
}
