-- expect: ok
local hook = {
  on = { "call.completed" },
  request = { url = "https://h.example/", body = [=[{"id": "[CALL_ID]"}]=] },
}
function hook.transform(event, request)
  if event.CALM then return end
  request.headers["X-A"] = "1\r\nEvil: 1"
  assert(request.headers["X-A"] == "1 Evil: 1")
end
return hook
