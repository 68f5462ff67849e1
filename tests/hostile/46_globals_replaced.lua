-- expect: ok
local hook = {
  on = { "call.completed" },
  request = { url = "https://h.example/", body = [=[{"id": "[CALL_ID]"}]=] },
}
function hook.filter(event)
  if event.CALM then return true end
  local function loop() while true do end end
  for name in pairs(_G) do
    if name ~= "setmetatable" and name ~= "_G" then
      _G[name] = setmetatable({}, { __index = loop, __call = loop, __tostring = loop })
    end
  end
  return event.CALL_ID == "c1"
end
return hook
