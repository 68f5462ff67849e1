-- expect: error: more than 64 KB
local hook = {
  on = { "call.completed" },
  request = { url = "https://h.example/", body = [=[{"id": "[CALL_ID]"}]=] },
}
function hook.tags(event)
  if event.CALM then return end
  return { TEXT = ("x"):rep(1e6) }
end
return hook
