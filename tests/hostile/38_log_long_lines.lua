-- expect: ok
local hook = {
  on = { "call.completed" },
  request = { url = "https://h.example/", body = [=[{"id": "[CALL_ID]"}]=] },
}
function hook.filter(event)
  if event.CALM then return true end
  for _ = 1, 200 do log.info(("x"):rep(100000)) end
  return true
end
return hook
