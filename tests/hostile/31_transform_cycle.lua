-- expect: error: nested deeper than
local hook = {
  on = { "call.completed" },
  request = { url = "https://h.example/", body = [=[{"id": "[CALL_ID]"}]=] },
}
function hook.transform(event, request)
  if event.CALM then return end
  local t = {}
  t.t = t
  request.body = t
end
return hook
