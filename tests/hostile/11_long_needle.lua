-- expect: ok
-- budget-ms: 500
local hook = {
  on = { "call.completed" },
  request = { url = "https://h.example/", body = [=[{"id": "[CALL_ID]"}]=] },
}
function hook.filter(event)
  if event.CALM then return true end
  local half = ("a"):rep(2 * 1024 * 1024)
  assert(not (half .. half):find(half .. "b", 1, true))
  return true
end
return hook
