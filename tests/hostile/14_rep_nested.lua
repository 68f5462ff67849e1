-- expect: error: resulting string too large
local hook = {
  on = { "call.completed" },
  request = { url = "https://h.example/", body = [=[{"id": "[CALL_ID]"}]=] },
}
function hook.filter(event)
  if event.CALM then return true end
  ("x"):rep(1e6):rep(1e6)
end
return hook
