-- expect: ok
local hook = {
  on = { "call.completed" },
  request = { url = "https://h.example/", body = [=[{"id": "[CALL_ID]"}]=] },
}
function hook.filter(event)
  if event.CALM then return true end
  string.format = function() return "mine" end
  assert(("%d"):format(5) == "mine")
  return true
end
return hook
