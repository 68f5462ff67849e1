-- expect: error: position out of bounds
local hook = {
  on = { "call.completed" },
  request = { url = "https://h.example/", body = [=[{"id": "[CALL_ID]"}]=] },
}
function hook.filter(event)
  if event.CALM then return true end
  table.insert({ 1, 2, 3 }, -2 ^ 31 + 1, 0)
end
return hook
