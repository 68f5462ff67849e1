-- expect: error: attempt to yield across C-call boundary
local hook = {
  on = { "call.completed" },
  request = { url = "https://h.example/", body = [=[{"id": "[CALL_ID]"}]=] },
}
function hook.filter(event)
  if event.CALM then return true end
  local sort = coroutine.wrap(function() table.sort({ 1, 2, 3 }, coroutine.yield) end)
  sort()
end
return hook
