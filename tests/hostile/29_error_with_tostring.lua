-- expect: error: error object is a table value
local hook = {
  on = { "call.completed" },
  request = { url = "https://h.example/", body = [=[{"id": "[CALL_ID]"}]=] },
}
function hook.filter(event)
  if event.CALM then return true end
  error(setmetatable({}, { __tostring = function() while true do end end }))
end
return hook
