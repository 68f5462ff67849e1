-- expect: error: invalid value
local hook = {
  on = { "call.completed" },
  request = { url = "https://h.example/", body = [=[{"id": "[CALL_ID]"}]=] },
}
function hook.filter(event)
  if event.CALM then return true end
  return table.concat({}, ",", 1, 2 ^ 31 - 1)
end
return hook
