-- expect: ok
local hook = {
  on = { "call.completed" },
  request = { url = "https://h.example/", body = [=[{"id": "[CALL_ID]"}]=] },
}
function hook.transform(event, request)
  if event.CALM then return end
  request.headers["X-A"] = "\0ShCRM_TOKEN\0"
  assert(request.headers["X-A"] == " ShCRM_TOKEN")
end
return hook
