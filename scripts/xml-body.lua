-- XML: a raw body is sent as it is, so the script escapes what XML needs escaped.
local hook = {
  on = { "call.completed" },
  request = {
    format = "raw",
    url = "https://soap.example/leads",
    headers = { ["Content-Type"] = "application/xml; charset=utf-8" },
    body = "<lead><call>[CALL_ID]</call><name>[CAMPAIGN_XML]</name><seconds>[DURATION|\"0\"]</seconds></lead>",
  },
}

local entities = { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;" }

function hook.tags(event)
  return { CAMPAIGN_XML = (event.CAMPAIGN_NAME or ""):gsub('[&<>"]', entities) }
end

hook.tests = {
  { name = "markup in a name stays text", event = { type = "call.completed", CALL_ID = "c1", CAMPAIGN_NAME = "A&B <Q1>" },
    expect = { body = "<lead><call>c1</call><name>A&amp;B &lt;Q1&gt;</name><seconds>0</seconds></lead>" } },
}
return hook
