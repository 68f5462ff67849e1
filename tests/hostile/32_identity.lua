-- expect: ok
-- body: {"id":9007199254740993,"fb":123456789012345678,"a":[],"n":null}
local hook = {
  on = { "call.completed" },
  request = { url = "https://h.example/", body = [=[{"id":9007199254740993,"fb":123456789012345678,"a":[],"n":null}]=] },
}
function hook.transform(event, request)
  if event.CALM then return end
  request.body:set("x", 1)
  request.body:delete("x")
end
return hook
