-- Form post: application/x-www-form-urlencoded, fields without a value are left out.
return {
  on = { "call.converted" },
  missing = "omit",
  request = {
    format = "form",
    url = "https://leads.partner.example/convert",
    body = "call=[CALL_ID]&phone=[CALLER_ID:digits]&amount=[REVENUE_PAID_OUT]&gclid=[GCLID]&city=[VISITOR_CITY]",
  },
  tests = {
    {
      name = "values are encoded, a missing click id drops its field",
      event = { type = "call.converted", CALL_ID = "c1", CALLER_ID = "+13105559876", REVENUE_PAID_OUT = "35.00",
        VISITOR_CITY = "San José" },
      expect = { body = "call=c1&phone=13105559876&amount=35.00&city=San+Jos%C3%A9" },
    },
  },
}
