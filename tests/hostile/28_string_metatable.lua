-- expect: error: attempt to index a boolean value
local hook = {
  on = { "call.completed" },
  request = { url = "https://h.example/", body = [=[{"id": "[CALL_ID]"}]=] },
}
function hook.filter(event)
  if event.CALM then return true end
  getmetatable("").__index = function() return "x" end
end
return hook
