-- expect: budget
local hook = {
  on = { "call.completed" },
  request = { url = "https://h.example/", body = [=[{"id": "[CALL_ID]"}]=] },
}
function hook.filter(event)
  if event.CALM then return true end
  local list = {}
  for i = 1, 1e6 do list[i] = -i end
  for _ = 1, 20 do table.sort(list) end
end
return hook
