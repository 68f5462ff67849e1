-- Operational events are events: tell the team when a webhook is disabled or gives up.
return {
  on = { "webhook.disabled", "webhook.exhausted", "script.quarantined", "store.low_space" },
  rate = "10/m",
  request = {
    url = "https://pager.example/v2/enqueue?key=[SECRET:PAGER_KEY]",
    body = [=[{"text": "[EVENT]: [WEBHOOK|"the engine"]: [REASON|"no reason given"]"}]=],
  },
  tests = {
    { name = "the reason is told",
      event = { type = "webhook.disabled", WEBHOOK = "crm", REASON = "410 Gone" },
      expect = { body = { text = "webhook.disabled: crm: 410 Gone" } } },
  },
}
