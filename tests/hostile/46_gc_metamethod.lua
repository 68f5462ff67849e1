-- expect: ok
local hook = {
  on = { "call.completed" },
  request = { url = "https://h.example/", body = [=[{"id": "[CALL_ID]"}]=] },
}
function hook.filter(event)
  if event.CALM then return true end
  for _ = 1, 1000 do setmetatable({}, { __gc = function() while true do end end }) end
  return true
end
return hook
