-- Fan-out: a transform that returns a list makes a delivery of each request.
local hook = {
  on = { "call.converted" },
  request = {
    url = "https://billing.example/conversions",
    body = [=[{"call": "[CALL_ID]", "payout": [PAYOUT_NUMERIC], "revenue": "[REVENUE_PAID_OUT]"}]=],
  },
}

function hook.transform(event, request)
  local publisher = {
    method = "POST",
    url = "https://publishers.example/" .. url.encode(event.PUBLISHER_ID or "unknown") .. "/payouts",
    headers = { ["X-Publisher"] = event.PUBLISHER_NAME },
    body = { call = event.CALL_ID, amount = event.PAYOUT },
  }
  request.body:set("currency", "USD")
  return { request, publisher }
end

hook.tests = {
  { name = "billing and the publisher each get theirs",
    event = { type = "call.converted", CALL_ID = "c1", PAYOUT = "$20.00", REVENUE_PAID_OUT = "35.00", PUBLISHER_ID = "p/9",
      PUBLISHER_NAME = "Acme" },
    expect = { requests = {
      { url = "https://billing.example/conversions", body = { call = "c1", payout = 20, revenue = "35.00", currency = "USD" } },
      { url = "https://publishers.example/p%2F9/payouts", body = { call = "c1", amount = "$20.00" } },
    } } },
}
return hook
