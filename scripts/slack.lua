-- Slack-style message: one line for people when a call fails or converts.
local hook = {
  on = { "call.failure", "call.converted" },
  rate = "20/s burst 5",
  request = {
    url = "https://slack.example/api/chat.postMessage",
    headers = { Authorization = "Bearer [SECRET:SLACK_TOKEN]" },
    body = [=[{"channel": "#calls", "text": "[MESSAGE]"}]=],
  },
}

function hook.tags(event)
  local who = phone.format(event.CALLER_ID or event.FROM or "") or "an unknown caller"
  if event.type == "call.failure" then
    return { MESSAGE = ":warning: Call from " .. who .. " to " .. (event.TARGET_NAME or "nobody") .. " failed" }
  end
  return { MESSAGE = ":moneybag: " .. who .. " converted for $" .. (event.REVENUE_PAID_OUT or "0") }
end

-- Slack says 200 to what it refuses, too: {"ok":false,"error":"channel_not_found"}.
function hook.response(event, response)
  if response.body:find('"ok":false', 1, true) then return "fail", response.body end
end

hook.tests = {
  { name = "a conversion names the amount",
    event = { type = "call.converted", CALLER_ID = "+13105559876", REVENUE_PAID_OUT = "35.00" },
    expect = { body = { channel = "#calls", text = ":moneybag: (310) 555-9876 converted for $35.00" } } },
  { name = "a failure names the target", event = { type = "call.failure", FROM = "+13105559876", TARGET_NAME = "Solar West" },
    expect = { body = { channel = "#calls", text = ":warning: Call from (310) 555-9876 to Solar West failed" } } },
  { name = "a refusal with 200 is none the less one", event = { type = "call.converted" },
    response = { status = 200, body = '{"ok":false,"error":"channel_not_found"}' }, expect = "fail" },
}
return hook
