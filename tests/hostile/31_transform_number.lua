-- expect: error: a request is needed, not a number
local hook = {
  on = { "call.completed" },
  request = { url = "https://h.example/", body = [=[{"id": "[CALL_ID]"}]=] },
}
function hook.transform(event, request)
  if event.CALM then return end
  return 7
end
return hook
