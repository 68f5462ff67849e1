-- 409 means "I have it already": that is a delivery, not a failure.
local hook = {
  on = { "call.*" },
  request = { method = "PUT", url = "https://archive.example/events/[EVENT_ID]", body = [=[{"event": "[EVENT]", "call": "[CALL_ID]"}]=] },
}

function hook.response(event, response)
  if response.status == 409 then return "delivered" end
  if response.status == 422 then return "fail" end -- it will never take this one
end

hook.tests = {
  { name = "a conflict is a success", event = { type = "call.hangup", CALL_ID = "c1" },
    response = { status = 409 }, expect = { verdict = "delivered" } },
  { name = "422 is final", event = { type = "call.hangup", CALL_ID = "c1" },
    response = { status = 422 }, expect = { verdict = "fail" } },
}
return hook
