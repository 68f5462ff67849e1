-- expect: error: headers used outside of its hook
-- event: {"type":"call.completed","tags":{"CALL_ID":"c1"}}
-- event: {"type":"call.completed","tags":{"CALL_ID":"c2"}}
local hook = {
  on = { "call.completed" },
  request = { url = "https://h.example/", body = [=[{"id": "[CALL_ID]"}]=] },
}
local saved
function hook.transform(event, request)
  if event.CALM then return end
  saved = saved or request.headers
  saved["X-A"] = "1"
end
return hook
