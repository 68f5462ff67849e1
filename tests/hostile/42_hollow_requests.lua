-- expect: budget
local hook = {
  on = { "call.completed" },
  request = { url = "https://h.example/", body = [=[{"id": "[CALL_ID]"}]=] },
}
local t = { method = "PUT" }
for i = 1, 5e5 do t[i] = true end
for i = 1, 5e5 do t[i] = nil end
function hook.transform(event, request)
  if event.CALM then return end
  local list = {}
  for i = 1, 1000 do list[i] = t end
  return list
end
return hook
