"""The stages of a script in a running engine: what transform makes is sent, what response
says is done, exhausted is told once, and what they kept in the store stays."""
from harness import Receiver, Workspace, check, equal, main, until

TRANSFORM = """local hook = { on = { "call.completed" }, retry = { 0.05, 0.05 }, request = { url = "%s/first?call=[CALL_ID]", body = [=[{"id":"[CALL_ID]"}]=] } }
function hook.transform(event, request)
  if event.KIND == "none" then return {} end
  local second, third = request:clone(), request:clone()
  second.url, third.url = "%s/second?call=" .. event.CALL_ID, "%s/third?call=" .. event.CALL_ID
  return { request, second, third }
end
return hook"""
RESPONSE = """local hook = { on = { "call.completed" }, retry = { 0.05, 0.05 }, request = { url = "%s/[KIND]" } }
function hook.filter(event) store.incr("calls") return true end
function hook.response(event, response)
  store.incr("answers")
  if event.KIND == "conflict" and response.status == 409 then return "delivered" end
  if response.body:find("refused", 1, true) then return "fail", "the body says no" end
  if response.headers["X-Again"] then return "retry", 0.05 end
  if event.KIND == "raises" then error("not today") end
end
return hook"""
EXHAUSTED = """local hook = { on = { "call.completed" }, retry = { 0.05 }, request = { url = "%s/exhausted" } }
function hook.exhausted(event, delivery) store.set("told", event.CALL_ID) store.incr("times") end
return hook"""


def post(engine, kind, n=1):
    equal(engine.post({"id": f"{kind}{n}", "type": "call.completed", "tags": {"CALL_ID": f"c{n}", "KIND": kind}})[0], 202)


def row(engine, event, state):
    return until(lambda: [r for r in engine.log("--event", event) if r["state"] == state], what=f"{event} {state}")[0]


def test_a_request_of_transform_is_a_delivery_of_its_own():
    with Workspace() as w, Receiver(lambda r: 500 if r["target"].startswith("/second") else 200) as r:
        w.hook("fan", TRANSFORM % (r.url, r.url, r.url))
        engine = w.engine()
        post(engine, "many")
        until(lambda: engine.states() == {"delivered": 2, "exhausted": 1}, what="two delivered, one exhausted")
        equal(sorted(q["target"] for q in r.requests), ["/first?call=c1"] + ["/second?call=c1"] * 3 + ["/third?call=c1"])
        equal({q["body"] for q in r.requests}, {b'{"id":"c1"}'})
        equal(len({q["headers"]["webhook-id"] for q in r.requests}), 3)
        post(engine, "none")
        check("no request" in row(engine, "none1", "filtered")["reason"], "why nothing was sent")
        equal(len(r.requests), 5)


def test_response_decides_what_becomes_of_the_delivery():
    answers = {"/conflict": 409, "/refusal": (200, {}, b"refused"), "/raises": 200, "/again": (200, {"X-Again": "1"}, b"not yet")}
    with Workspace() as w:
        with Receiver(lambda r: 200 if r["target"] == "/again" and seen.append(r) is None and len(seen) > 1 else answers[r["target"]]) as r:
            seen = []
            w.hook("judge", RESPONSE % r.url)
            engine = w.engine()
            for kind in ("conflict", "refusal", "raises", "again"):
                post(engine, kind)
            equal(row(engine, "conflict1", "delivered")["status"], 409)
            refused = row(engine, "refusal1", "exhausted")
            equal((refused["reason"], refused["attempts"]), ("the body says no", 1))
            equal(row(engine, "again1", "delivered")["attempts"], 2)
            equal(row(engine, "raises1", "delivered")["status"], 200, "the receiver said yes")
            until(lambda: "answers" in w.tuma("scripts", "show", "judge").stdout, what="the store's numbers")
            shown = w.tuma("scripts", "show", "judge").stdout
            check("calls = " in shown and "answers = " in shown, shown)
            check("stages       filter,response" in shown, shown)


def test_exhausted_is_told_once():
    with Workspace() as w, Receiver(lambda r: 500) as r:
        w.hook("gone", EXHAUSTED % r.url)
        engine = w.engine()
        post(engine, "x", 7)
        row(engine, "x7", "exhausted")
        shown = until(lambda: (lambda t: "told" in t and t)(w.tuma("scripts", "show", "gone").stdout), what="told")
        check('told = "c7"' in shown and "times = 1" in shown, shown)
        equal(len(r.requests), 2)


if __name__ == "__main__":
    main(globals())
