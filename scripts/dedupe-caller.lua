-- De-duplication: a caller counts once a day; `store` outlives reloads and restarts.
local DAY = 24 * 60 * 60

local hook = {
  on = { "call.completed" },
  request = { url = "https://unique.example/callers", body = [=[{"caller": "[CALLER_ID]", "call": "[CALL_ID]"}]=] },
}

function hook.filter(event)
  if not event.CALLER_ID then return false, "no caller id" end
  -- A retry never runs the script again: what was rendered once is sent again as it was.
  return store.incr("seen:" .. event.CALLER_ID, 1, DAY) == 1, "seen in the last 24 hours"
end

hook.tests = {
  { name = "the first call of a caller goes out", event = { type = "call.completed", CALLER_ID = "+13105550001", CALL_ID = "c1" },
    expect = { body = { caller = "+13105550001", call = "c1" } } },
  { name = "the second one does not",
    store = { ["seen:+13105550001"] = 1 },
    event = { type = "call.completed", CALLER_ID = "+13105550001", CALL_ID = "c2" }, expect = "filtered" },
}
return hook
