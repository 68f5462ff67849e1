-- expect: error: error object is a table value
local hook = {
  on = { "call.completed" },
  request = { url = "https://h.example/", body = [=[{"id": "[CALL_ID]"}]=] },
}
function hook.filter(event)
  if event.CALM then return true end
  local e = {}
  e.__index, e.__tostring, e.__concat, e.__call = e, e, e, e
  error(setmetatable(e, e))
end
return hook
