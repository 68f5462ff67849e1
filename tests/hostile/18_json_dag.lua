-- expect: error: more than 50000 values
local hook = {
  on = { "call.completed" },
  request = { url = "https://h.example/", body = [=[{"id": "[CALL_ID]"}]=] },
}
function hook.filter(event)
  if event.CALM then return true end
  local a = {}
  for _ = 1, 40 do a = { a, a } end
  json.encode(a)
end
return hook
