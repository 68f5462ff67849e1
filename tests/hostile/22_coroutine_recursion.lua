-- expect: error: C stack overflow
local hook = {
  on = { "call.completed" },
  request = { url = "https://h.example/", body = [=[{"id": "[CALL_ID]"}]=] },
}
function hook.filter(event)
  if event.CALM then return true end
  local function g(n) return coroutine.wrap(g)(n + 1) end
  g(1)
end
return hook
