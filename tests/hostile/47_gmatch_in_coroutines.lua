-- expect: ok
local hook = {
  on = { "call.completed" },
  request = { url = "https://h.example/", body = [=[{"id": "[CALL_ID]"}]=] },
}
function hook.filter(event)
  if event.CALM then return true end
  local next_word = ("a b c d"):gmatch("%a")
  local function take() return coroutine.wrap(function() return next_word() end)() end
  assert(take() .. take() .. next_word() .. take() == "abcd" and next_word() == nil)
  return true
end
return hook
