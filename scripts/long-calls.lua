-- Filter: only calls of a minute or more, and nobody from Nevada.
local hook = {
  on = { "call.completed" },
  request = {
    url = "https://quality.example/calls",
    body = [=[{"call": "[CALL_ID]", "seconds": [DURATION], "agent": "[TARGET_NAME]"}]=],
  },
}

function hook.filter(event)
  if (event:number("DURATION") or 0) < 60 then return false, "shorter than a minute" end
  return event.CALLER_STATE ~= "NV", "Nevada is excluded"
end

hook.tests = {
  { name = "short calls are skipped", event = { type = "call.completed", DURATION = "59" },
    expect = { filtered = true, reason = "shorter than a minute" } },
  { name = "Nevada is excluded", event = { type = "call.completed", DURATION = "90", CALLER_STATE = "NV" }, expect = "filtered" },
  { name = "long calls go out", event = { type = "call.completed", CALL_ID = "c1", DURATION = "60", TARGET_NAME = "Ann" },
    expect = { body = { call = "c1", seconds = 60, agent = "Ann" } } },
}
return hook
