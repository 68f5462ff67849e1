-- expect: error: C stack overflow
local hook = {
  on = { "call.completed" },
  request = { url = "https://h.example/", body = [=[{"id": "[CALL_ID]"}]=] },
}
function hook.filter(event)
  if event.CALM then return true end
  local function f() table.sort({ 1, 2 }, f) end
  f()
end
return hook
