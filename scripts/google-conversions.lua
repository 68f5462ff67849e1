-- Google offline conversions: click id, time and value; calls without a click id are skipped.
local hook = {
  on = { "call.converted" },
  when = { GCLID = { "present" } },
  request = {
    url = "https://googleads.example/v16/customers/1234567890:uploadClickConversions",
    headers = { ["developer-token"] = "[SECRET:GOOGLE_DEVELOPER_TOKEN]" },
    body = [=[{"conversions": [{"gclid": "[GCLID]", "conversionAction": "customers/1234567890/conversionActions/42",
  "conversionDateTime": "[EVENT_TIMESTAMP:date(%Y-%m-%d %H:%M:%S+00:00)]", "conversionValue": [REVENUE_PAID_OUT],
  "currencyCode": "USD", "userIdentifiers": [{"hashedPhoneNumber": "[CALLER_ID:e164:sha256]"}]}], "partialFailure": true}]=],
  },
}

hook.tests = {
  { name = "no click id, nothing to upload", event = { type = "call.converted", CALLER_ID = "+13105559876" }, expect = "filtered" },
  { name = "the time has Google's form and the phone is hashed",
    event = { type = "call.converted", time = "2026-11-24T19:11:50Z", GCLID = "g1", CALLER_ID = "+13105559876", REVENUE_PAID_OUT = "35.00" },
    expect = { body = { conversions = { { gclid = "g1", conversionAction = "customers/1234567890/conversionActions/42",
      conversionDateTime = "2026-11-24 19:11:50+00:00", conversionValue = 35, currencyCode = "USD",
      userIdentifiers = { { hashedPhoneNumber = hash.sha256("+13105559876") } } } }, partialFailure = true } } },
}
return hook
