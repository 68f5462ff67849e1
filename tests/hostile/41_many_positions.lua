-- expect: budget
local hook = {
  on = { "call.completed" },
  request = { url = "https://h.example/", body = [=[{"id": "[CALL_ID]"}]=] },
}
function hook.filter(event)
  if event.CALM then return true end
  ;(("a"):rep(1000)):gsub("()", ("%1"):rep(3e6))
end
return hook
