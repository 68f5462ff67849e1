-- expect: budget
local hook = {
  on = { "call.completed" },
  request = { url = "https://h.example/", body = [=[{"id": "[CALL_ID]"}]=] },
}
function hook.filter(event)
  if event.CALM then return true end
  local m = { __lt = function() while true do end end }
  return setmetatable({}, m) < setmetatable({}, m)
end
return hook
