-- expect: ok
-- body: {"id": "c1"}
local function loop() while true do end end
local angry = { __index = loop, __newindex = loop, __call = loop, __tostring = loop, __len = loop }
local hook = setmetatable({
  on = setmetatable({ "call.completed" }, angry),
  request = setmetatable({ url = "https://h.example/", body = [=[{"id": "[CALL_ID]"}]=] }, angry),
}, angry)
return hook
