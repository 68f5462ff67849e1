-- Meta conversions upload: identifiers are normalised, then hashed; raw ones never leave.
local hook = {
  on = { "call.converted" },
  request = {
    url = "https://graph.facebook.example/v19.0/1234567890/events?access_token=[SECRET:META_TOKEN]",
    body = [=[{"data": [{"event_name": "Lead", "event_time": [EVENT_UNIX], "event_id": "[CALL_ID]",
  "action_source": "phone_call", "user_data": {"ph": ["[PHONE_SHA256]"], "st": ["[STATE_SHA256]"], "fbc": "[FBC]"},
  "custom_data": {"currency": "USD", "value": [REVENUE_PAID_OUT]}}]}]=],
  },
}

function hook.tags(event)
  local at = math.floor(event.time)
  return {
    EVENT_UNIX = at,
    PHONE_SHA256 = hash.sha256(phone.digits(event.CALLER_ID or "")),
    STATE_SHA256 = hash.sha256((event.CALLER_STATE or ""):lower()),
    FBC = event.FBCLID and ("fb.1." .. at .. "000." .. event.FBCLID) or "",
  }
end

hook.tests = {
  { name = "phone and state are hashed", secrets = { META_TOKEN = "t" },
    event = { type = "call.converted", time = "2026-11-24T00:00:01Z", CALL_ID = "c1", CALLER_ID = "+13105559876", CALLER_STATE = "CA",
      FBCLID = "abc", REVENUE_PAID_OUT = "35.00" },
    expect = { body = { data = { { event_name = "Lead", event_time = 1795478401, event_id = "c1", action_source = "phone_call",
      user_data = { ph = { hash.sha256("13105559876") }, st = { hash.sha256("ca") }, fbc = "fb.1.1795478401000.abc" },
      custom_data = { currency = "USD", value = 35 } } } } } },
}
return hook
