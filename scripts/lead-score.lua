-- Computed tags: what hook.tags returns is a tag like any other.
local hook = {
  on = { "call.completed" },
  request = {
    url = "https://scores.example/leads/[CALL_ID]",
    method = "PUT",
    body = [=[{"score": [LEAD_SCORE], "grade": "[LEAD_GRADE]", "hour": [CALL_HOUR]}]=],
  },
}

function hook.tags(event)
  local score = math.min(100, math.floor((event:number("DURATION") or 0) / 3))
  if event.CONVERTED == "true" then score = math.min(100, score + 40) end
  local grade = score >= 70 and "A" or score >= 30 and "B" or "C"
  return { LEAD_SCORE = score, LEAD_GRADE = grade, CALL_HOUR = tonumber(time.format(event.time, "%H")) }
end

hook.tests = {
  { name = "a converted call of two minutes is an A",
    event = { type = "call.completed", time = "2026-11-24T15:04:05Z", CALL_ID = "c1", DURATION = "120", CONVERTED = "true" },
    expect = { method = "PUT", body = { score = 80, grade = "A", hour = 15 } } },
  { name = "a missed call is a C", event = { type = "call.completed", time = "2026-11-24T00:00:00Z", CALL_ID = "c2" },
    expect = { body = { score = 0, grade = "C", hour = 0 } } },
}
return hook
