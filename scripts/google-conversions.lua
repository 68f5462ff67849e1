-- Google Ads click conversions: click id, time and value; calls without a click id are skipped.
local ACTION = "customers/1234567890/conversionActions/42"

local hook = {
  on = { "call.converted" },
  when = { GCLID = { "present" }, CALLER_ID = { "present" } },
  request = {
    url = "https://googleads.example/v26/customers/1234567890:uploadClickConversions",
    headers = {
      Authorization = "Bearer [SECRET:GOOGLE_ACCESS_TOKEN]", -- lives an hour: whoever renews it sets the secret
      ["developer-token"] = "[SECRET:GOOGLE_DEVELOPER_TOKEN]",
    },
    body = [=[{"conversions": [{"gclid": "[GCLID]", "conversionAction": "]=] .. ACTION .. [=[", "orderId": "[CALL_ID]",
  "conversionDateTime": "[EVENT_TIMESTAMP:date(%Y-%m-%d %H:%M:%S+00:00)]", "conversionValue": [REVENUE_PAID_OUT],
  "currencyCode": "USD", "userIdentifiers": [{"hashedPhoneNumber": "[CALLER_ID:e164:sha256]"}]}], "partialFailure": true}]=],
  },
}

-- With partialFailure (which an upload must ask for) a refused conversion is answered with 200.
function hook.response(event, response)
  if response.body:find("partialFailureError", 1, true) then return "fail", "Google refused the conversion" end
end

hook.tests = {
  { name = "no click id, nothing to upload", event = { type = "call.converted", CALLER_ID = "+13105559876" }, expect = "filtered" },
  { name = "the time has Google's form and the phone is hashed",
    event = { type = "call.converted", time = "2026-11-24T19:11:50Z", GCLID = "g1", CALL_ID = "c1", CALLER_ID = "+13105559876",
      REVENUE_PAID_OUT = "35.00" },
    expect = { body = { conversions = { { gclid = "g1", conversionAction = ACTION, orderId = "c1",
      conversionDateTime = "2026-11-24 19:11:50+00:00", conversionValue = 35, currencyCode = "USD",
      userIdentifiers = { { hashedPhoneNumber = hash.sha256("+13105559876") } } } }, partialFailure = true } } },
  { name = "200 is no promise", event = { type = "call.converted", GCLID = "g1", CALLER_ID = "+13105559876", REVENUE_PAID_OUT = "1" },
    response = { status = 200, body = '{"partialFailureError": {"code": 3}}' }, expect = "fail" },
}
return hook
