-- expect: error: body used outside of its hook
-- event: {"type":"call.completed","tags":{"CALL_ID":"c1"}}
-- event: {"type":"call.completed","tags":{"CALL_ID":"c2"}}
local hook = {
  on = { "call.completed" },
  request = { url = "https://h.example/", body = [=[{"id": "[CALL_ID]"}]=] },
}
local body
function hook.transform(event, request)
  if event.CALM then return end
  if body then body:set("x", 1) end
  body = request.body
end
return hook
