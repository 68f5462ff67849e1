-- Sampling: one call in ten, always the same ones, because the call id decides.
local hook = {
  on = { "call.*" },
  request = { url = "https://analytics.example/sample", body = [=[{"event": "[EVENT]", "call": "[CALL_ID]"}]=] },
}

function hook.filter(event)
  local bucket = tonumber(hash.sha256(event.CALL_ID or ""):sub(1, 8), 16) % 10
  return bucket == 0, "not in the sample"
end

hook.tests = {
  { name = "this call is in the sample", event = { type = "call.hangup", CALL_ID = "call_3" },
    expect = { body = { event = "call.hangup", call = "call_3" } } },
  { name = "this one is not", event = { type = "call.hangup", CALL_ID = "call_1" }, expect = "filtered" },
}
return hook
