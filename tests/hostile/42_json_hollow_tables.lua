-- expect: budget
local hook = {
  on = { "call.completed" },
  request = { url = "https://h.example/", body = [=[{"id": "[CALL_ID]"}]=] },
}
function hook.filter(event)
  if event.CALM then return true end
  local t = {}
  for i = 1, 4e5 do t[i] = true end
  for i = 1, 4e5 do t[i] = nil end
  local list = {}
  for i = 1, 5000 do list[i] = t end
  json.encode(list)
end
return hook
