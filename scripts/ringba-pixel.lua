-- Ringba-style enrichment: a GET with the caller's data, there before the call is; what is unknown is left out.
return {
  on = { "call.incoming" },
  missing = "omit",
  request = {
    method = "GET",
    url = "https://display.ringba.example/enrich/PV18005550123?callerid=[CALLER_ID:e164]&call=[INBOUND_CALL_ID|CALL_ID]"
      .. "&zip=[CALLER_ZIP]&state=[CALLER_STATE]&source=[UTM_SOURCE]",
  },
  tests = {
    { name = "a parameter without a value is left out",
      event = { type = "call.incoming", CALLER_ID = "(310) 555-9876", CALL_ID = "c1", CALLER_ZIP = "90001" },
      expect = { method = "GET",
        url = "https://display.ringba.example/enrich/PV18005550123?callerid=%2B13105559876&call=c1&zip=90001" } },
  },
}
