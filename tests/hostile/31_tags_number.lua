-- expect: error: tags must return
local hook = {
  on = { "call.completed" },
  request = { url = "https://h.example/", body = [=[{"id": "[CALL_ID]"}]=] },
}
function hook.tags(event)
  if event.CALM then return end
  return 5
end
return hook
