-- expect: ok
local hook = {
  on = { "call.completed" },
  request = { url = "https://h.example/", body = [=[{"id": "[CALL_ID]"}]=] },
}
function hook.filter(event)
  if event.CALM then return true end
  local t = {}
  for i = 1, 300 do t[i] = pcall end
  pcall(unpack(t))
  return true
end
return hook
