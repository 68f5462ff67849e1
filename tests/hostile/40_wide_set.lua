-- expect: budget
local hook = {
  on = { "call.completed" },
  request = { url = "https://h.example/", body = [=[{"id": "[CALL_ID]"}]=] },
}
function hook.filter(event)
  if event.CALM then return true end
  local set = "[" .. ("ab"):rep(2e6) .. "]"
  local text = ("x"):rep(1e5)
  text:find(set)
end
return hook
