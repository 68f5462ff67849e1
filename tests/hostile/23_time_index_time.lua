-- expect: error: field 'year' missing
local hook = {
  on = { "call.completed" },
  request = { url = "https://h.example/", body = [=[{"id": "[CALL_ID]"}]=] },
}
function hook.filter(event)
  if event.CALM then return true end
  os.time(setmetatable({}, { __index = os.time }))
end
return hook
