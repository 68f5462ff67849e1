-- expect: ok
local hook = {
  on = { "call.completed" },
  request = { url = "https://h.example/", body = [=[{"id": "[CALL_ID]"}]=] },
}
function hook.filter(event)
  if event.CALM then return true end
  for _, name in ipairs({ "execute", "exit", "getenv", "setlocale", "remove", "rename", "tmpname" }) do
    assert(os[name] == nil, name)
  end
  assert(string.dump == nil and table.foreach == nil)
  return true
end
return hook
