-- expect: error: tags returned a tag that is a function
local hook = {
  on = { "call.completed" },
  request = { url = "https://h.example/", body = [=[{"id": "[CALL_ID]"}]=] },
}
function hook.tags(event)
  if event.CALM then return end
  return { SCORE = print }
end
return hook
