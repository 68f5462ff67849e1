-- expect: error: NaN is no JSON number
local hook = {
  on = { "call.completed" },
  request = { url = "https://h.example/", body = [=[{"id": "[CALL_ID]"}]=] },
}
function hook.transform(event, request)
  if event.CALM then return end
  request.body:set("x", 0 / 0)
end
return hook
