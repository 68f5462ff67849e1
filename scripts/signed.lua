-- A receiver's own signature: HMAC-SHA256 over the body, in a header of its own.
local hook = {
  on = { "call.completed" },
  secrets = { "PARTNER_KEY" },
  request = {
    url = "https://partner.example/v2/calls",
    body = [=[{"id":"[CALL_ID]","from":"[CALLER_ID]","to":"[TO]","seconds":[DURATION]}]=],
  },
}

function hook.transform(event, request)
  local body = tostring(request.body)
  request.headers["X-Partner-Signature"] = "sha256=" .. hash.hmac_sha256(secret.get("PARTNER_KEY"), body)
end

hook.tests = {
  { name = "the signature covers the body as it is sent", secrets = { PARTNER_KEY = "k" },
    event = { type = "call.completed", CALL_ID = "c1", CALLER_ID = "+13105559876", TO = "+18005550100", DURATION = "12" },
    expect = { headers = { ["X-Partner-Signature"] = "sha256=" .. hash.hmac_sha256("k",
      '{"id":"c1","from":"+13105559876","to":"+18005550100","seconds":12}') } } },
}
return hook
