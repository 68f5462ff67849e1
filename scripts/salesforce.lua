-- Salesforce style: an OAuth 2.0 client fetches its token, then upserts a task.
return {
  on = { "call.completed" },
  auth = { type = "oauth2", url = "https://acme.my.salesforce.example/services/oauth2/token", client = "tuma", secret = "SF_SECRET" },
  missing = "null",
  request = {
    method = "PATCH",
    url = "https://acme.my.salesforce.example/services/data/v59.0/sobjects/Task/Call_Id__c/[CALL_ID]",
    body = [=[{
  "Subject": "Call from [CALLER_ID]", "Status": "Completed",
  "CallDurationInSeconds": [DURATION], "CallType": "Inbound", "Campaign__c": "[CAMPAIGN_NAME]",
  "ActivityDate": "[EVENT_TIMESTAMP:date(%Y-%m-%d)]", "Gclid__c": [GCLID]
}]=],
  },
  tests = {
    { name = "a missing click id is null", event = { type = "call.completed", time = "2026-11-24T23:30:00Z", CALL_ID = "c1",
        CALLER_ID = "+13105559876", DURATION = "61", CAMPAIGN_NAME = "Solar" },
      expect = { method = "PATCH", body = { Subject = "Call from +13105559876", Status = "Completed", CallDurationInSeconds = 61,
        CallType = "Inbound", Campaign__c = "Solar", ActivityDate = "2026-11-24", Gclid__c = json.null } } },
  },
}
