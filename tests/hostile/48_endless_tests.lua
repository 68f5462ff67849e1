-- expect: load-error: is too large
local a = { "xxxxxxxx" }
for _ = 1, 29 do a = { a, a } end
return { on = "call.completed", request = { url = "https://h.example/" }, tests = a }
