-- expect: budget
local hook = {
  on = { "call.completed" },
  request = { url = "https://h.example/", body = [=[{"id": "[CALL_ID]"}]=] },
}
function hook.filter(event)
  if event.CALM then return true end
  local prefix, list = ("x"):rep(100 * 1024), {}
  for i = 1, 50 do list[i] = prefix .. i end
  local many = {}
  for i = 1, 20000 do many[i] = list[i * 7 % 50 + 1] end
  table.sort(many)
end
return hook
