-- expect: error: tags returned a number that is not finite
local hook = {
  on = { "call.completed" },
  request = { url = "https://h.example/", body = [=[{"id": "[CALL_ID]"}]=] },
}
function hook.tags(event)
  if event.CALM then return end
  return { SCORE = 0 / 0 }
end
return hook
