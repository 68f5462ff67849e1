-- expect: ok
-- repeat: 5
-- budget-ms: 1000
local hook = {
  on = { "call.completed" },
  request = { url = "https://h.example/", body = [=[{"id": "[CALL_ID]"}]=] },
}
function hook.filter(event)
  if event.CALM then return true end
  local text = "[" .. ("{\"a\":{}},"):rep(16000) .. "1]"
  for _ = 1, 3 do
    pcall(function()
      local keep = {}
      for i = 1, 100 do keep[i] = json.decode(text) end
    end)
  end
  return true
end
return hook
