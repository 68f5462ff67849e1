-- expect: error: nested deeper than
local hook = {
  on = { "call.completed" },
  request = { url = "https://h.example/", body = [=[{"id": "[CALL_ID]"}]=] },
}
function hook.filter(event)
  if event.CALM then return true end
  local a = {}
  a.a = a
  json.encode(a)
end
return hook
