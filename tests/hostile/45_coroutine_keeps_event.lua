-- expect: error: event used outside of its hook
-- event: {"type":"call.completed","tags":{"CALL_ID":"c1"}}
-- event: {"type":"call.completed","tags":{"CALL_ID":"c2"}}
local hook = {
  on = { "call.completed" },
  request = { url = "https://h.example/", body = [=[{"id": "[CALL_ID]"}]=] },
}
local read
function hook.filter(event)
  if event.CALM then return true end
  read = read or coroutine.create(function(own)
    while true do coroutine.yield(own.CALL_ID == "c1") end
  end)
  local ok, answer = coroutine.resume(read, event)
  return ok and answer or error(answer, 0)
end
return hook
