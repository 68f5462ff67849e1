-- expect: error: undefined global 'newproxy'
local hook = {
  on = { "call.completed" },
  request = { url = "https://h.example/", body = [=[{"id": "[CALL_ID]"}]=] },
}
function hook.filter(event)
  if event.CALM then return true end
  local p = newproxy(true)
  getmetatable(p).__gc = function() while true do end end
end
return hook
