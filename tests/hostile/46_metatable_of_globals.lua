-- expect: error: cannot change a protected metatable
local hook = {
  on = { "call.completed" },
  request = { url = "https://h.example/", body = [=[{"id": "[CALL_ID]"}]=] },
}
function hook.filter(event)
  if event.CALM then return true end
  setmetatable(_G, { __index = function() while true do end end })
end
return hook
