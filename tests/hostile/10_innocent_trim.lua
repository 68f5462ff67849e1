-- expect: budget
local hook = {
  on = { "call.completed" },
  request = { url = "https://h.example/", body = [=[{"id": "[CALL_ID]"}]=] },
}
function hook.filter(event)
  if event.CALM then return true end
  local text = (" "):rep(20000) .. "x"
  for _ = 1, 50 do text:match("^(.-)%s*$") end
end
return hook
