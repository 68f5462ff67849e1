-- One event into many: a comma separated tag becomes a request for each of its parts.
local hook = {
  on = { "call.completed" },
  request = { url = "https://buyers.example/calls", body = [=[{"call": "[CALL_ID]", "buyer": ""}]=] },
}

function hook.transform(event, request)
  local requests = {}
  for buyer in (event.BUYER_IDS or ""):gmatch("[^,%s]+") do
    requests[#requests + 1] = {
      method = request.method, url = request.url .. "/" .. url.encode(buyer),
      body = { call = event.CALL_ID, buyer = buyer },
    }
  end
  return requests
end

hook.tests = {
  { name = "each buyer gets one", event = { type = "call.completed", CALL_ID = "c1", BUYER_IDS = "b1, b2" },
    expect = { requests = {
      { url = "https://buyers.example/calls/b1", body = { call = "c1", buyer = "b1" } },
      { url = "https://buyers.example/calls/b2", body = { call = "c1", buyer = "b2" } },
    } } },
  { name = "without buyers nothing is sent", event = { type = "call.completed", CALL_ID = "c1" }, expect = "filtered" },
}
return hook
