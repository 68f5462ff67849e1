-- expect: ok
local hook = {
  on = { "call.completed" },
  request = { url = "https://h.example/", body = [=[{"id": "[CALL_ID]"}]=] },
}
function hook.filter(event)
  if event.CALM then return true end
  local ok = pcall(string.rep, "x", 1e9)
  local sum = 0
  for i = 1, 100 do sum = sum + i end
  assert(not ok and sum == 5050)
  return true
end
return hook
