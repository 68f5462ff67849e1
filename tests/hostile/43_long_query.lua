-- expect: budget
local hook = {
  on = { "call.completed" },
  request = { url = "https://h.example/", body = [=[{"id": "[CALL_ID]"}]=] },
}
local long = "https://h.example/?" .. ("a&"):rep(1.2e6)
function hook.transform(event, request)
  if event.CALM then return end
  request.url = long
  request.query.x = 1
  request.query.x = 2
end
return hook
