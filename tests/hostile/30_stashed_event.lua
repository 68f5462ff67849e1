-- expect: error: event used outside of its hook
-- event: {"type":"call.completed","tags":{"CALL_ID":"c1"}}
-- event: {"type":"call.completed","tags":{"CALL_ID":"c2"}}
local hook = {
  on = { "call.completed" },
  request = { url = "https://h.example/", body = [=[{"id": "[CALL_ID]"}]=] },
}
local saved
function hook.filter(event)
  if event.CALM then return true end
  if not saved then saved = event return true end
  return saved.CALL_ID == "c1"
end
return hook
