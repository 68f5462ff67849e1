-- expect: memory
local hook = {
  on = { "call.completed" },
  request = { url = "https://h.example/", body = [=[{"id": "[CALL_ID]"}]=] },
}
function hook.filter(event)
  if event.CALM then return true end
  local t = {}
  for i = 1, 1e9 do t["k" .. i] = i end
end
return hook
