-- expect: error: table expected
local hook = {
  on = { "call.completed" },
  request = { url = "https://h.example/", body = [=[{"id": "[CALL_ID]"}]=] },
}
function hook.filter(event)
  if event.CALM then return true end
  setmetatable(event, { __index = function() while true do end end })
end
return hook
