#!/usr/bin/env python3
"""The demo: a recorded day of calls through the example webhooks.

    tests/demo.py BUILD/tuma [--calls 60]

Starts a sink and the engine on loopback, posts the day, waits until all is
delivered, then compares every request that arrived with the one that must
arrive, byte for byte. What must arrive is worked out here, from the events
alone, by code that shares nothing with the engine. Exit status 0 only then.
"""
import argparse
import collections
import hashlib
import hmac
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time
from urllib.parse import quote, quote_plus

import day

ROOT = pathlib.Path(__file__).resolve().parent.parent
HOOKS = ["plain-json", "form-post", "long-calls", "lead-score", "fan-out", "slack", "signed", "when"]
SECRETS = {"CRM_TOKEN": "demo-crm-token", "SLACK_TOKEN": "xoxb-demo", "PARTNER_KEY": "demo-partner-key"}


# --- What must arrive: one function a webhook, from an event's tags ---

def text(value):
    return {True: "true", False: "false"}.get(value, str(value)) if isinstance(value, bool) else str(value)


def js(value):
    return json.dumps(text(value), ensure_ascii=False)[1:-1]


def pct(value):
    return quote(text(value), safe="-._~")


def compact(value):
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def want_plain_json(kind, tags):
    if kind != "call.completed":
        return
    body = ('{\n  "call_id": "%s",\n  "caller": "%s",\n  "campaign": "%s",\n  "duration": %s,\n  "converted": %s,\n  "revenue": "%s",\n'
            '  "tags": { "source": "%s", "state": "%s" }\n}') % (
        js(tags["CALL_ID"]), js(tags["CALLER_ID"]), js(tags["CAMPAIGN_NAME"]), tags["DURATION"], text(tags["CONVERTED"]), js(tags["REVENUE_PAID_OUT"]),
        js(tags.get("UTM_SOURCE") or "direct"), js(tags["CALLER_STATE"]))
    yield ("POST", f"/api.crm.example/calls?call_id={pct(tags['CALL_ID'])}&campaign={pct(tags['CAMPAIGN_ID'])}", body,
           {"authorization": "Bearer " + SECRETS["CRM_TOKEN"], "x-event": kind, "content-type": "application/json"})


def want_form_post(kind, tags):
    if kind != "call.converted":
        return
    fields = [("call", tags["CALL_ID"]), ("phone", re.sub(r"\D", "", tags["CALLER_ID"])), ("amount", tags["REVENUE_PAID_OUT"]),
              ("gclid", tags.get("GCLID")), ("city", tags.get("VISITOR_CITY"))]
    body = "&".join(f"{k}={quote_plus(v, safe='*-._')}" for k, v in fields if v is not None)
    yield ("POST", "/leads.partner.example/convert", body, {"content-type": "application/x-www-form-urlencoded"})


def want_long_calls(kind, tags):
    if kind == "call.completed" and tags["DURATION"] >= 60 and tags["CALLER_STATE"] != "NV":
        yield ("POST", "/quality.example/calls", '{"call": "%s", "seconds": %s, "agent": "%s"}' % (js(tags["CALL_ID"]), tags["DURATION"], js(tags["TARGET_NAME"])), {})


def want_lead_score(kind, tags):
    if kind != "call.completed":
        return
    score = min(100, tags["DURATION"] // 3)
    if tags["CONVERTED"]:
        score = min(100, score + 40)
    grade = "A" if score >= 70 else "B" if score >= 30 else "C"
    yield ("PUT", f"/scores.example/leads/{pct(tags['CALL_ID'])}", '{"score": %d, "grade": "%s", "hour": %d}' % (score, grade, int(tags["_time"][11:13])), {})


def want_fan_out(kind, tags):
    if kind != "call.converted":
        return
    body = '{"call": "%s", "payout": %s, "revenue": "%s"' % (js(tags["CALL_ID"]), tags["PAYOUT"].lstrip("$"), js(tags["REVENUE_PAID_OUT"]))
    yield ("POST", "/billing.example/conversions", body + ', "currency": "USD"}', {"content-type": "application/json"})
    yield ("POST", f"/publishers.example/{pct(tags['PUBLISHER_ID'])}/payouts", {"call": tags["CALL_ID"], "amount": tags["PAYOUT"]},
           {"x-publisher": tags["PUBLISHER_NAME"]})


def want_slack(kind, tags):
    digits = tags["CALLER_ID"][2:]
    who = f"({digits[:3]}) {digits[3:6]}-{digits[6:]}"
    if kind == "call.failure":
        message = f":warning: Call from {who} to {tags['TARGET_NAME']} failed"
    elif kind == "call.converted":
        message = f":moneybag: {who} converted for ${tags['REVENUE_PAID_OUT']}"
    else:
        return
    yield ("POST", "/slack.example/api/chat.postMessage", '{"channel": "#calls", "text": "%s"}' % js(message), {"authorization": "Bearer " + SECRETS["SLACK_TOKEN"]})


def want_signed(kind, tags):
    if kind != "call.completed":
        return
    body = '{"id":"%s","from":"%s","to":"%s","seconds":%s}' % (js(tags["CALL_ID"]), js(tags["CALLER_ID"]), js(tags["TO"]), tags["DURATION"])
    mac = hmac.new(SECRETS["PARTNER_KEY"].encode(), body.encode(), hashlib.sha256).hexdigest()
    yield ("POST", "/partner.example/v2/calls", body, {"x-partner-signature": "sha256=" + mac})


def want_when(kind, tags):
    if kind == "call.completed" and tags["CONVERTED"] and tags["DURATION"] >= 30 and tags["CALLER_STATE"] in ("CA", "TX", "FL"):
        yield ("GET", f"/pixel.example/hit?call={pct(tags['CALL_ID'])}&state={pct(tags['CALLER_STATE'])}", "", {})


def wanted(events):
    for event in events:
        tags = {k.upper(): v for k, v in event["tags"].items()}
        tags["_time"] = event["time"]
        for hook in HOOKS:
            for request in globals()["want_" + hook.replace("-", "_")](event["type"], tags) or ():
                yield hook, request


# --- The run ---

def prepare(folder, port):
    """The example webhooks with their hosts turned into paths of the sink."""
    scripts = folder / "scripts"
    scripts.mkdir()
    for hook in HOOKS:
        source = (ROOT / "scripts" / f"{hook}.lua").read_text()
        (scripts / f"{hook}.lua").write_text(re.sub(r"https://([a-z0-9.-]+\.example)", rf"http://127.0.0.1:{port}/\1", source))
    return scripts


def start(command, pattern, log, env=None):
    """Starts a program and waits for a line that matches; returns it and the match."""
    out = open(log, "w+")
    process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=env)
    for _ in range(200):
        found = re.search(pattern, pathlib.Path(log).read_text())
        if found:
            return process, found
        if process.poll() is not None:
            break
        time.sleep(0.05)
    sys.exit(f"{command[1]} did not start:\n{pathlib.Path(log).read_text()}")


def stop(process):
    process.send_signal(signal.SIGTERM)
    try:
        return process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        return None


def received(path):
    requests = []
    for line in open(path):
        row = json.loads(line)
        headers = {name.lower(): value for name, value in row["headers"]}
        requests.append((row["method"], row["target"], row["body"], headers))
    return requests


def matches(want, got):
    method, target, body, headers = want
    if (method, target) != got[:2] or any(got[3].get(name) != value for name, value in headers.items()):
        return False
    if isinstance(body, dict):  # a body that a script made from a table: its key order is free
        return json.loads(got[2]) == body
    return got[2] == body


def compare(events, got):
    """Takes each wanted request out of what came; prints a table; True when both are the same."""
    left = collections.defaultdict(list)
    for request in got:
        left[request[:2]].append(request)
    counts, missing = collections.Counter(), []
    for hook, want in wanted(events):
        candidates = left[want[:2]]
        hit = next((g for g in candidates if matches(want, g)), None)
        if hit:
            candidates.remove(hit)
            counts[hook] += 1
        else:
            missing.append((hook, want, candidates[:1]))
    extra = [g for rest in left.values() for g in rest]
    for hook in HOOKS:
        print(f"  {hook:12} {counts[hook]:4} requests, byte for byte as they must be")
    for hook, want, near in missing[:3]:
        print(f"MISSING {hook}: {want}\n   near: {near}")
    for g in extra[:3]:
        print(f"UNEXPECTED: {g}")
    print(f"  {sum(counts.values())} of {sum(counts.values()) + len(missing)} arrived, {len(extra)} unexpected")
    return not missing and not extra


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("tuma")
    options.add_argument("--calls", type=int, default=60)
    options = options.parse_args()
    tuma = str(pathlib.Path(options.tuma).resolve())
    events = day.make(options.calls, 20261124)
    with tempfile.TemporaryDirectory(prefix="tuma-demo-") as name:
        folder = pathlib.Path(name)
        sink, found = start([tuma, "sink", "--port", "0", "--log", str(folder / "sink.jsonl"), "--bodies"], r"(?:port|:)\D*(\d{4,5})", folder / "sink.out")
        scripts = prepare(folder, int(found.group(1)))
        env = dict(os.environ, **{"TUMA_SECRET_" + k: v for k, v in SECRETS.items()})
        settings = ["--data", str(folder / "data"), "--scripts", str(scripts)]
        engine, _ = start([tuma, "serve", *settings, "--listen", "127.0.0.1:0", "--allow-private", "--ballast-bytes", "0"], r"listening", folder / "engine.out", env)
        (folder / "day.ndjson").write_text("".join(compact(e) + "\n" for e in events))
        print(f"tuma: {len(events)} events of {options.calls} calls → {len(HOOKS)} webhooks → sink on 127.0.0.1:{found.group(1)}\n")
        sent = subprocess.run([tuma, "send", str(folder / "day.ndjson"), *settings], env=env)
        want = sum(1 for _ in wanted(events))
        for _ in range(600):
            if sum(1 for _ in open(folder / "sink.jsonl")) >= want:
                break
            time.sleep(0.05)
        time.sleep(0.3)  # anything that should not come would come now
        got = received(folder / "sink.jsonl")
        for method, target, body, _ in [g for g in got if "slack" in g[1]][:2] + [g for g in got if "crm" in g[1]][:1]:
            print(f"  {method} {target}\n    " + body.replace("\n", "\n    ") + "\n")
        same = compare(events, got)
        subprocess.run([tuma, "log", *settings, "--limit", "3"], env=env)
        ended = stop(engine)
        stop(sink)
        if not same or sent.returncode or ended:
            print((folder / "engine.out").read_text()[-4000:])
            sys.exit("demo: FAILED")
    print("\ndemo: every request arrived as it must")


if __name__ == "__main__":
    main()
