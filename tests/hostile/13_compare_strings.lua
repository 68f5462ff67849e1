-- expect: budget
local hook = {
  on = { "call.completed" },
  request = { url = "https://h.example/", body = [=[{"id": "[CALL_ID]"}]=] },
}
function hook.filter(event)
  if event.CALM then return true end
  local s = ("x"):rep(3 * 1024 * 1024)
  local a, b = s .. 1, s .. 2
  while a < b do end
end
return hook
