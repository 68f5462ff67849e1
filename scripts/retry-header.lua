-- A receiver's own retry header: it says in X-Retry-In when it wants the call again.
local hook = {
  on = { "call.completed" },
  retry = { 10, 60, 600 },
  request = { url = "https://busy.example/calls", body = [=[{"call": "[CALL_ID]"}]=] },
}

function hook.response(event, response)
  local seconds = tonumber(response.headers["X-Retry-In"])
  if response.status == 503 and seconds then return "retry", seconds end
end

hook.tests = {
  { name = "the request is a plain one", event = { type = "call.completed", CALL_ID = "c1" }, expect = { body = { call = "c1" } } },
  { name = "its header decides", event = { type = "call.completed", CALL_ID = "c1" },
    response = { status = 503, headers = { ["X-Retry-In"] = "42" } }, expect = { verdict = "retry", retry_after = 42 } },
}
return hook
