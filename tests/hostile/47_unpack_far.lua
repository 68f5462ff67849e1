-- expect: error: too many results to unpack
local hook = {
  on = { "call.completed" },
  request = { url = "https://h.example/", body = [=[{"id": "[CALL_ID]"}]=] },
}
function hook.filter(event)
  if event.CALM then return true end
  return unpack({}, 1, 1e8)
end
return hook
