-- expect: load-error: CPU budget exceeded
local t = { x = 1 }
for i = 1, 1e6 do t[i] = true end
for i = 1, 1e6 do t[i] = nil end
local list = {}
for i = 1, 4000 do list[i] = t end
return { on = "call.completed", request = { url = "https://h.example/" }, tests = list }
