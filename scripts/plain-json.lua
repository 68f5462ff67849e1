-- Plain JSON: the body is a template, no Lua runs.
return {
  on = { "call.completed" },
  request = {
    url = "https://api.crm.example/calls?call_id=[CALL_ID]&campaign=[CAMPAIGN_ID]",
    headers = { Authorization = "Bearer [SECRET:CRM_TOKEN]", ["X-Event"] = "[EVENT]" },
    body = [=[{
  "call_id": "[CALL_ID]",
  "caller": "[CALLER_ID]",
  "campaign": "[CAMPAIGN_NAME]",
  "duration": [DURATION],
  "converted": [CONVERTED],
  "revenue": "[REVENUE_PAID_OUT]",
  "tags": { "source": "[UTM_SOURCE|"direct"]", "state": "[CALLER_STATE]" }
}]=],
  },
  tests = {
    {
      name = "numbers and booleans stand bare, a missing source has a default",
      event = { type = "call.completed", CALL_ID = "c1", CALLER_ID = "+13105559876", CAMPAIGN_ID = "7",
        CAMPAIGN_NAME = 'Medicare "Q1"', DURATION = "145", CONVERTED = "true", REVENUE_PAID_OUT = "35.00", CALLER_STATE = "CA" },
      expect = {
        method = "POST", url = "https://api.crm.example/calls?call_id=c1&campaign=7",
        body = { call_id = "c1", caller = "+13105559876", campaign = 'Medicare "Q1"', duration = 145, converted = true,
          revenue = "35.00", tags = { source = "direct", state = "CA" } },
      },
    },
  },
}
