-- Meta conversions upload: identifiers are normalised, then hashed; raw ones never leave, missing ones are left out.
local hook = {
  on = { "call.converted" },
  missing = "omit",
  request = {
    url = "https://graph.facebook.example/v24.0/1234567890/events?access_token=[SECRET:META_TOKEN]",
    body = [=[{"data": [{"event_name": "Lead", "event_time": [EVENT_UNIX], "event_id": "[CALL_ID]",
  "action_source": "phone_call", "user_data": {"ph": "[PHONE_SHA256]", "st": "[STATE_SHA256]", "fbc": "[FBC]"},
  "custom_data": {"currency": "USD", "value": [REVENUE_PAID_OUT]}}]}]=],
  },
}

local function hashed(text)
  return text and hash.sha256(text) -- the hash of an empty text would be somebody
end

function hook.tags(event)
  local at = math.floor(event.time)
  return {
    EVENT_UNIX = at,
    PHONE_SHA256 = hashed(event.CALLER_ID and phone.digits(event.CALLER_ID)),
    STATE_SHA256 = hashed(event.CALLER_STATE and event.CALLER_STATE:lower()),
    FBC = event.FBCLID and "fb.1." .. at .. "000." .. event.FBCLID,
  }
end

hook.tests = {
  { name = "phone and state are hashed",
    event = { type = "call.converted", time = "2026-11-24T00:00:01Z", CALL_ID = "c1", CALLER_ID = "+13105559876", CALLER_STATE = "CA",
      FBCLID = "abc", REVENUE_PAID_OUT = "35.00" },
    expect = { body = { data = { { event_name = "Lead", event_time = 1795478401, event_id = "c1", action_source = "phone_call",
      user_data = { ph = hash.sha256("13105559876"), st = hash.sha256("ca"), fbc = "fb.1.1795478401000.abc" },
      custom_data = { currency = "USD", value = 35 } } } } } },
  { name = "no state, no hash of nothing",
    event = { type = "call.converted", time = "2026-11-24T00:00:01Z", CALL_ID = "c1", CALLER_ID = "+13105559876", REVENUE_PAID_OUT = "1" },
    expect = { unresolved = { "STATE_SHA256", "FBC" }, body = { data = { { user_data = { ph = hash.sha256("13105559876") } } } } } },
}
return hook
