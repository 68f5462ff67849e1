-- expect: load-error: nested too deeply
local t = {}
t.t = t
return { on = "call.completed", request = { url = "https://h.example/", body = t } }
