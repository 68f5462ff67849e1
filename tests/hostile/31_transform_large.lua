-- expect: error: at most 1048576
-- budget-ms: 500
local hook = {
  on = { "call.completed" },
  request = { url = "https://h.example/", body = [=[{"id": "[CALL_ID]"}]=] },
}
function hook.transform(event, request)
  if event.CALM then return end
  request.body = ("x"):rep(7 * 1024 * 1024)
end
return hook
