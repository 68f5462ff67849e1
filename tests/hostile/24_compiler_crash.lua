-- expect: load-error: crashed
-- in-process: skip
local hook = { on = { "call.completed" }, request = { url = "https://h.example/" } }
function hook.filter()
  local _ for _ in (nil):foo() do end
end
return hook
