-- NAME: what this webhook is for, in one line.
-- `tuma check`, `tuma test` and `tuma render NAME --event FILE` try it without sending anything.
-- `tuma new --editor` lets an editor complete what stands here.
---@type tuma.hook
local hook = {
  -- Which events: exact names, or "call.*". `tuma events` lists them.
  on = { "call.completed" },
  -- Conditions that need no script; all must hold.
  when = { DURATION = { ">=", 10 } },
  -- The request. [TAG] is replaced by the event's value; `tuma tags` lists them.
  request = {
    method = "POST",
    format = "json",
    url = "https://example.com/calls?call_id=[CALL_ID]",
    headers = { ["X-Event"] = "[EVENT]" },
    body = [=[{"call_id": "[CALL_ID]", "caller": "[CALLER_ID]", "duration": [DURATION], "grade": "[CALL_GRADE]"}]=],
  },
  -- When it fails: "standard" tries nine more times within three days.
  retry = "standard",
  timeout = 10,
}

-- Each stage below is optional; one that is not there costs nothing.

-- Return false and a reason to leave an event out.
function hook.filter(event)
  return event.CALLER_ID ~= nil, "no caller id"
end

-- Tags of your own, usable in the request above.
function hook.tags(event)
  return { CALL_GRADE = event:number("DURATION") >= 60 and "long" or "short" }
end

-- Run by `tuma test`.
hook.tests = {
  {
    name = "a call of two minutes is long",
    event = { type = "call.completed", CALL_ID = "c1", CALLER_ID = "+14155550123", DURATION = "120" },
    expect = { body = { call_id = "c1", duration = 120, grade = "long" } },
  },
  {
    name = "a call without a caller is left out",
    event = { type = "call.completed", CALL_ID = "c2", DURATION = "120" },
    expect = "filtered",
  },
}

return hook
