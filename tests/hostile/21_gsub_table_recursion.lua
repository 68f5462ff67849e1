-- expect: error: C stack overflow
local hook = {
  on = { "call.completed" },
  request = { url = "https://h.example/", body = [=[{"id": "[CALL_ID]"}]=] },
}
function hook.filter(event)
  if event.CALM then return true end
  local t
  local function f(_, s) return (s:gsub(".", t)) end
  t = setmetatable({}, { __index = f })
  f(t, "x")
end
return hook
