-- expect: ok
-- budget-ms: 2000
local hook = {
  on = { "call.completed" },
  request = { url = "https://h.example/", body = [=[{"id": "[CALL_ID]"}]=] },
}
function hook.filter(event)
  if event.CALM then return true end
  local t = {}
  for i = 1, 7900 do t[i] = i end
  local function deep(n) if n == 0 then return select("#", coroutine.yield()) end return 1 + deep(n - 1) end
  for depth = 1000, 20000, 50 do
    local co = coroutine.create(deep)
    if coroutine.resume(co, depth) then coroutine.resume(co, unpack(t)) end
  end
  return true
end
return hook
