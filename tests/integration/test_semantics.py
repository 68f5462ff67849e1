"""What a delivery promises: order, rate, breaker, Retry-After, signatures,
credentials, operational events, script errors."""
import base64
import hashlib
import hmac
import json
import os
import socket
import subprocess
import time

from harness import Receiver, Workspace, check, equal, main, until


def hook(url, more="", body='[=[{"id":"[CALL_ID]"}]=]', functions=""):
    return f"""local hook = {{ on = {{ "call.*" }}, request = {{ url = "{url}/in", body = {body} }}, {more} }}
{functions}
return hook"""


def event(n, kind="call.completed", **tags):
    return {"id": f"e{n}", "type": kind, "tags": {"CALL_ID": f"c{n}", **tags}}


def ids(requests):
    return [json.loads(r["body"])["id"] for r in requests]


def test_an_order_key_is_never_overtaken():
    def answer(request):
        time.sleep(0.02)
        first = json.loads(request["body"])["id"].endswith("connected") and request["headers"]["webhook-id"] not in seen
        seen.add(request["headers"]["webhook-id"])
        return 503 if first else 200

    seen = set()
    with Workspace() as w, Receiver(answer) as r:
        w.hook("crm", hook(r.url, 'order_by = "[CALL_ID]", retry = { 0.1, 0.1 }, breaker = false', '[=[{"id":"[CALL_ID] [STEP]"}]=]'))
        engine = w.engine()
        for n in range(5):
            for step, kind in (("connected", "call.connected"), ("completed", "call.completed")):
                engine.post({"id": f"{n}{step}", "type": kind, "tags": {"CALL_ID": f"c{n}", "STEP": step}})
        got = r.wait(15)
        for n in range(5):
            equal([i.split()[1] for i in ids(got) if i.startswith(f"c{n} ")], ["connected", "connected", "completed"], f"call {n}")


def test_a_rate_holds_over_every_window():
    with Workspace() as w, Receiver() as r:
        w.hook("crm", hook(r.url, 'rate = "20/s burst 1"'))
        engine = w.engine()
        engine.post([event(n) for n in range(30)])
        times = [q["at"] for q in r.wait(30)]
        for i in range(len(times) - 21):
            check(times[i + 21] - times[i] >= 0.9, "no window of a second holds more than the rate and one")


def test_retry_after_is_honoured():
    with Workspace() as w, Receiver(lambda q: (429, {"Retry-After": "2"}, b"") if q["number"] == 1 else 200) as r:
        w.hook("crm", hook(r.url, "retry = { 0.1 }"))
        engine = w.engine()
        engine.post(event(1))
        got = r.wait(2)
        check(got[1]["at"] - got[0]["at"] >= 1.9, "the receiver's wish is longer than the step")


def test_a_breaker_stops_hammering_and_probes():
    healthy = []
    with Workspace() as w, Receiver(lambda q: 200 if healthy else 500) as r:
        w.hook("crm", hook(r.url, "retry = { 0.05, 0.05, 0.05, 0.05, 0.05, 0.05, 0.05, 0.05, 0.05, 0.05, 0.05, 0.05, 0.05, 0.05 }, breaker = { failures = 3, cooldown = 0.5, cooldown_max = 0.5 }"))
        engine = w.engine()
        engine.post([event(n) for n in range(20)])
        time.sleep(1.3)
        check(len(r.requests) <= 16, f"an open breaker lets probes through only, not {len(r.requests)}")
        healthy.append(1)
        until(lambda: engine.states() == {"delivered": 20}, 20, "all delivered once the receiver is well")


def test_pause_holds_and_resume_lets_go():
    with Workspace() as w, Receiver() as r:
        w.hook("crm", hook(r.url))
        engine = w.engine()
        equal(w.tuma("scripts", "pause", "crm").returncode, 0)
        engine.post(event(1))
        time.sleep(0.4)
        equal(len(r.requests), 0)
        equal(w.tuma("scripts", "resume", "crm").returncode, 0)
        r.wait(1)


def test_the_engines_own_port_is_not_dialled():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    with Workspace() as w:
        w.hook("loop", hook(f"http://127.0.0.1:{port}", 'retry = "none"'))
        engine = w.engine("--listen", f"127.0.0.1:{port}")
        equal(engine.port, port)
        engine.post(event(1))
        until(lambda: engine.states() == {"exhausted": 1}, 10, "one attempt, no loop")
        equal(engine.log()[0]["error"], "the address may not be dialled")


def test_with_little_space_left_events_are_refused_and_what_is_stored_is_delivered():
    with Workspace() as w, Receiver(lambda q: 200 if q["number"] > 1 else 503) as r:
        w.hook("crm", hook(r.url, "retry = { 2 }"))
        engine = w.engine()
        engine.post(event(1))
        r.wait(1)
        engine.process.stop()
        engine = w.engine("--reserve-bytes", str(10**15))
        status, problem, headers = engine.post(event(2))
        check(status == 503 and "storage_full" in problem["type"], f"{status} {problem}")
        check("retry-after" in headers, "when to try again")
        r.wait(2)
        until(lambda: engine.states() == {"delivered": 1}, 10, "the stored one is delivered")


def test_low_space_is_told_while_it_can_be():
    with Workspace() as w, Receiver() as r:
        w.hook("ops", hook(r.url).replace("call.*", "store.low_space"))
        left = os.statvfs(w.path).f_bavail * os.statvfs(w.path).f_frsize
        engine = w.engine("--reserve-bytes", str(left * 2 // 3))
        engine.post(event(1))
        r.wait(1)
        equal([row["type"] for row in engine.log()], ["store.low_space"])


def test_signatures_verify():
    key = base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()
    with Workspace() as w, Receiver() as r:
        w.hook("std", hook(r.url, 'sign = { secret = "NEW", previous = "OLD" }'))
        w.hook("hub", hook(r.url, 'sign = { scheme = "github", secret = "PLAIN" }'))
        w.hook("str", hook(r.url, 'sign = { scheme = "stripe", secret = "PLAIN", header = "X-Sig" }'))
        engine = w.engine(env={"TUMA_SECRET_NEW": "whsec_" + key, "TUMA_SECRET_OLD": "whsec_" + base64.b64encode(b"x" * 24).decode(), "TUMA_SECRET_PLAIN": "plain"})
        engine.post(event(1))
        for q in r.wait(3):
            h, body = q["headers"], q["body"]
            if "webhook-signature" in h:
                signed = f"{h['webhook-id']}.{h['webhook-timestamp']}.".encode() + body
                want = ["v1," + base64.b64encode(hmac.new(k, signed, hashlib.sha256).digest()).decode() for k in (b"0123456789abcdef0123456789abcdef", b"x" * 24)]
                equal(h["webhook-signature"].split(), want)
            elif "x-hub-signature-256" in h:
                equal(h["x-hub-signature-256"], "sha256=" + hmac.new(b"plain", body, hashlib.sha256).hexdigest())
            else:
                t, v1 = (p.split("=")[1] for p in h["x-sig"].split(","))
                equal(v1, hmac.new(b"plain", t.encode() + b"." + body, hashlib.sha256).hexdigest())


def test_an_oauth_token_is_fetched_once_and_refreshed_on_401():
    def answer(q):
        if q["target"] == "/token":
            tokens.append(q)
            return 200, {}, json.dumps({"access_token": f"t{len(tokens)}", "token_type": "bearer", "expires_in": 3600}).encode()
        return 200 if int(q["headers"]["authorization"].removeprefix("Bearer t")) > len(revoked) else 401

    tokens, revoked = [], []
    with Workspace() as w, Receiver(answer) as r:
        w.hook("sf", hook(r.url, f'retry = {{ 0.1 }}, auth = {{ type = "oauth2", url = "{r.url}/token", client = "me", secret = "CS", scope = "a b" }}'))
        engine = w.engine("--workers", "2", env={"TUMA_SECRET_CS": "s3cret"})
        engine.post([event(n) for n in range(10)])
        until(lambda: engine.states() == {"delivered": 10}, what="delivered")
        equal(tokens[0]["body"], b"grant_type=client_credentials&scope=a%20b")
        equal(tokens[0]["headers"]["authorization"], "Basic " + base64.b64encode(b"me:s3cret").decode())
        check(len(tokens) <= 2, f"at most one fetch by each worker, not {len(tokens)}")
        revoked.extend(tokens)
        engine.post(event(99))
        until(lambda: engine.states() == {"delivered": 11}, what="delivered with a new token")
        check("s3cret" not in engine.process.text() and "s3cret" not in w.tuma("log", "--json").stdout, "no secret in a log")


def test_basic_and_bearer_credentials_are_sent_and_masked():
    with Workspace() as w, Receiver() as r:
        w.hook("basic", hook(r.url, 'auth = { type = "basic", user = "u", secret = "P" }'))
        w.hook("bearer", hook(r.url, 'auth = { type = "bearer", secret = "P" }'))
        engine = w.engine(env={"TUMA_SECRET_P": "canary77"})
        engine.post(event(1))
        equal(sorted(q["headers"]["authorization"] for q in r.wait(2)), ["Basic " + base64.b64encode(b"u:canary77").decode(), "Bearer canary77"])
        until(lambda: engine.states() == {"delivered": 2}, what="delivered")
        for row in engine.log():
            shown = w.tuma("show", str(row["id"]), "--json").stdout
            check("canary77" not in shown and "[SECRET:P]" in shown, shown)
        found = subprocess.run(["grep", "-rl", "canary77", str(w.data)], capture_output=True, text=True).stdout
        equal(found, "", "the store holds no secret in the clear")


def test_an_answer_that_echoes_a_secret_is_blotted():
    def answer(q):
        return 200, {"X-Echo": q["headers"]["authorization"]}, b"you said " + q["headers"]["authorization"].encode()

    with Workspace() as w, Receiver(answer) as r:
        w.hook("crm", hook(r.url, 'auth = { type = "bearer", secret = "P" }'))
        engine = w.engine(env={"TUMA_SECRET_P": "canary77"})
        engine.post(event(1))
        until(lambda: engine.states() == {"delivered": 1}, what="delivered")
        shown = json.loads(w.tuma("show", str(engine.log()[0]["id"]), "--json").stdout)
        equal(shown["attempts"][0]["response_body"], "you said Bearer ********")
        check("canary77" not in json.dumps(shown) and "********" in shown["attempts"][0]["response_headers"], "headers too")


def test_a_trace_and_a_hop_are_carried():
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    with Workspace() as w, Receiver() as r:
        w.hook("crm", hook(r.url))
        engine = w.engine()
        engine.post(event(1), traceparent=trace)
        h = r.wait(1)[0]["headers"]
        check(h["traceparent"].split("-")[1] == trace.split("-")[1], h["traceparent"])
        equal(h["webhook-hop"], "1")
        check(engine.post(event(2), **{"webhook-hop": "4"})[0] >= 400, "a loop is refused")


def test_an_exhausted_delivery_raises_an_event_that_hooks_hear():
    with Workspace() as w, Receiver(lambda q: 500 if q["target"] == "/in" else 200) as r:
        w.hook("crm", hook(r.url, "retry = { 0.05 }"))
        w.hook("ops", f'return {{ on = {{ "webhook.exhausted" }}, request = {{ url = "{r.url}/ops", body = [=[{{"w":"[WEBHOOK]","e":"[EVENT]"}}]=] }} }}')
        engine = w.engine()
        engine.post(event(1))
        told = until(lambda: [q for q in r.requests if q["target"] == "/ops"], 20, "the operational event")
        equal(json.loads(told[0]["body"]), {"w": "crm", "e": "webhook.exhausted"})


def test_script_errors_follow_the_webhooks_policy():
    broken = "function hook.tags(event) error('boom') end"
    with Workspace() as w, Receiver() as r:
        for policy in ("hold", "send", "drop"):
            w.hook(policy, hook(r.url, f'on_script_error = "{policy}"', functions=broken))
        engine = w.engine()
        engine.post(event(1))
        until(lambda: sum(engine.states().values()) == 3 and "pending" not in engine.states(), 20, "all settled")
        states = {row["webhook"]: (row["state"], row["reason"]) for row in engine.log()}
        equal({k: v[0] for k, v in states.items()}, {"hold": "parked", "send": "delivered", "drop": "dropped"})
        check("hold.lua:2:" in states["hold"][1] and "boom" in states["hold"][1], f"the reason names file:line: {states['hold'][1]}")
        w.hook("hold", hook(r.url))
        until(lambda: engine.states() == {"delivered": 2, "dropped": 1}, 20, "an edit lets the held one go")


def test_a_store_key_survives_a_restart():
    counting = "function hook.filter(event) return store.incr('n') <= 2, 'enough' end"
    with Workspace() as w, Receiver() as r:
        w.hook("crm", hook(r.url, functions=counting))
        engine = w.engine()
        engine.post(event(1))
        r.wait(1)
        until(lambda: engine.states() == {"delivered": 1}, what="delivered")
        engine.process.stop()
        engine = w.engine()
        engine.post(event(2))
        until(lambda: engine.states() == {"delivered": 2}, what="the second")
        engine.post(event(3))
        until(lambda: engine.states() == {"delivered": 2, "filtered": 1}, what="the third is filtered")


def test_a_change_takes_effect_and_a_broken_one_does_not():
    with Workspace() as w, Receiver() as r:
        w.hook("crm", hook(r.url))
        engine = w.engine()
        w.hook("crm", hook(r.url, body='[=[{"id":"v2"}]=]'))
        until(lambda: "script reloaded" in engine.process.text(), what="reloaded")
        time.sleep(0.1)
        engine.post(event(1))
        equal(ids(r.wait(1)), ["v2"])
        w.hook("crm", "return {")
        until(lambda: "crm.lua:1:" in engine.process.text(), what="the mistake on the log")
        engine.post(event(2))
        equal(ids(r.wait(2))[1], "v2")
        out = w.tuma("scripts")
        check("crm.lua:1:" in out.stdout, f"the mistake in tuma scripts: {out.stdout} {out.stderr}")


if __name__ == "__main__":
    main(globals())
