-- expect: error: nested deeper than
local hook = {
  on = { "call.completed" },
  request = { url = "https://h.example/", body = [=[{"id": "[CALL_ID]"}]=] },
}
function hook.tags(event)
  if event.CALM then return end
  local t = {}
  t.t = t
  return { LOOP = t }
end
return hook
