#!/usr/bin/env python3
"""Makes the standard works A-F, what the benchmarks render: works.bin, works.json, event.json and the wanted outputs out/ref.*.

    usage: works.py [DIR]        (DIR: bench/data)

A work is a template and 64 events. Everything random comes from one seed, drawn in the order
written here, so every machine renders the same bytes.

    A  the guide's example body: 8 tags in 200 bytes of JSON
    B  4 KB of JSON, 60 tags, two of which the events lack
    C  a URL with 10 tags to percent-encode
    D  64 KB of JSON, 20 tags
    E  4 KB of JSON without a tag
    F  8 values in which every third byte or so needs escaping

works.bin, little-endian: u32 count of works; each: name, u32 mode (0 JSON, 1 URL), template, u32 count of tags, their
names, u32 count of events, then per event a value for each name. A text is u32 length and bytes; length 0xffffffff: absent.
"""
import json
import pathlib
import random
import re
import string
import struct
import sys
import urllib.parse

HERE = pathlib.Path(__file__).resolve().parent
EVENTS = 64
ABSENT = struct.pack("<I", 0xFFFFFFFF)
LETTERS = string.ascii_lowercase + string.digits
TAG = re.compile(r"\[([A-Z0-9_]+)\]")
draw = random.Random(20261124)

# The guide's tags in its order.
TAGS = """
    CALL_SID CALL_ID FROM TO CALLER_ID CALLER_ID_NO_PLUS CALLER_ID_NUMERIC CALLER_ZIP CALLER_STATE STATE ZIP_CODE ORIGINAL_STATE
    ORIGINAL_ZIP_CODE INBOUND_CALL_ID ORG_ID CAMPAIGN_ID CAMPAIGN_NAME PUBLISHER_ID PUBLISHER_NAME PUBLISHER_NUMBER PAYOUT
    PAYOUT_NUMERIC TARGET_ID TARGET_NAME TARGET_TYPE BUYER_ID BUYER_NAME TARGET_PAYOUT PUBLISHER_PAYOUT CONVERTED REVENUE_PAID_OUT
    PUBLISHER_PAID_OUT CALL_TERMINATION_BY DURATION INBOUND_DURATION OUTBOUND_DURATION CALL_CONVERTED_AT EVENT_TIMESTAMP
    CONFIGURED_PUBLISHER_PAYOUT CONFIGURED_PUBLISHER_PAYOUT_NUMERIC CONFIGURED_BUYER_REVENUE CONFIGURED_BUYER_REVENUE_NUMERIC
    OVERWRITTEN_BUYER_REVENUE GCLID FBCLID UTM_SOURCE UTM_MEDIUM UTM_CAMPAIGN UTM_CONTENT UTM_TERM KEYWORD VISITOR_ID LANDING_PAGE
    LANDING_PAGE_DOMAIN LANDING_PAGE_PATH REFERRER VISITOR_CITY VISITOR_STATE VISITOR_ZIP VISITOR_COUNTRY""".split()
WORDS = """Medicare Leads Solar Auto Insurance Q1 Q2 Home Security Legal Roofing Premium Western Eastern Direct Partner Network Plus
    Final Expense""".split()


# --- Values ---

def token(least, most):
    return "".join(draw.choice(LETTERS) for _ in range(draw.randint(least, most)))


def phone():
    return "+1" + "".join(draw.choice(string.digits) for _ in range(10))


def words(least, most):
    return " ".join(draw.choice(WORDS) for _ in range(draw.randint(least, most)))


def number(least, most):
    return str(draw.randint(least, most))


def moment():
    hour = [draw.randint(least, most) for least, most in ((1, 30), (0, 23), (0, 59), (0, 59), (0, 999))]
    return "2026-11-{:02}T{:02}:{:02}:{:02}.{:03}Z".format(*hour)


def awkward(least, most):
    """Text full of what JSON escapes, and of letters beyond ASCII."""
    shares = ((0.06, lambda: '"'), (0.09, lambda: "\\"), (0.12, lambda: "\n"), (0.14, lambda: "\t"),
              (0.15, lambda: draw.choice("\x01\x02\x1f\x0b\x1b")), (0.22, lambda: draw.choice("éüñçßøλЖ中日本🙂")), (0.34, lambda: " "),
              (1.00, lambda: draw.choice(LETTERS)))

    def byte():
        at = draw.random()
        return next(make() for below, make in shares if at < below)

    return "".join(byte() for _ in range(draw.randint(least, most)))


# --- The works ---

def work_a():
    body = """{
"call_id": "[CALL_ID]",
"caller": "[CALLER_ID]",
"campaign": "[CAMPAIGN_NAME]",
"duration": "[DURATION]",
"converted": "[CONVERTED]",
"revenue": "[REVENUE_PAID_OUT]",
"tags": {
"source": "[UTM_SOURCE]",
"state": "[CALLER_STATE]"
}
}"""
    guide = {"CALL_ID": "call_abc123def456", "CALLER_ID": "+13105559876", "CAMPAIGN_NAME": "Medicare Leads Q1", "DURATION": "145",
             "CONVERTED": "true", "REVENUE_PAID_OUT": "35.00", "UTM_SOURCE": "google_ads", "CALLER_STATE": "CA"}

    def event():
        return {"CALL_ID": "call_" + token(10, 14), "CALLER_ID": phone(), "CAMPAIGN_NAME": words(1, 4), "DURATION": number(1, 4000),
                "CONVERTED": draw.choice(["true", "false"]), "REVENUE_PAID_OUT": f"{draw.uniform(0, 300):.2f}",
                "UTM_SOURCE": draw.choice(["google_ads", "facebook", "bing", "direct", "tiktok_organic", "newsletter"]),
                "CALLER_STATE": draw.choice(["CA", "NY", "TX", "FL", "WA", "OH"])}

    return "json", body, [guide] + [event() for _ in range(EVENTS - 1)]


def work_b():
    lines = ['{\n  "schema": "webhook.v2", "codes": [1, 2, 3], "empty": [],']
    for i, tag in enumerate(TAGS):
        lines.append(f'  "{tag.lower()}": "[{tag}]",')
        if i % 3 == 2:
            lines.append(f'  "_comment_{i:02}": "note: this field is copied from t",')
    body = "\n".join(lines + ['  "end": [true]\n}'])

    def event():
        values = {tag: token(4, 20) for tag in TAGS}
        return {tag: value for tag, value in values.items() if tag not in ("OVERWRITTEN_BUYER_REVENUE", "FBCLID")}

    return "json", body.ljust(4096), [event() for _ in range(EVENTS)]


def work_c():
    url = ("https://api.example-crm.com/v2/hooks/[ORG_ID]/calls/[CALL_ID]?caller=[CALLER_ID]&to=[TO]&campaign=[CAMPAIGN_NAME]"
           "&at=[EVENT_TIMESTAMP]&lp=[LANDING_PAGE]&kw=[KEYWORD]&city=[VISITOR_CITY]&src=[UTM_SOURCE]&v=1")
    cities = ["San José", "Los Angeles", "New York", "Montréal", "São Paulo", "Köln"]

    def event():
        return {"ORG_ID": number(1000, 99999), "CALL_ID": "call_" + token(10, 14), "CALLER_ID": phone(), "TO": phone(),
                "CAMPAIGN_NAME": words(1, 4), "EVENT_TIMESTAMP": moment(),
                "LANDING_PAGE": f"https://www.{token(5, 12)}.com/lp/{token(4, 9)}?utm_source={token(4, 8)}&gclid={token(10, 20)}",
                "KEYWORD": words(2, 5).lower(), "VISITOR_CITY": draw.choice(cities), "UTM_SOURCE": token(4, 10)}

    return "url", url, [event() for _ in range(EVENTS)]


def work_d():
    tags, body, placed = TAGS[:20], "{\n", 0
    while len(body) < 65000:
        if placed < len(tags) and len(body) // 3200 >= placed:
            body += f'  "{tags[placed].lower()}": "[{tags[placed]}]",\n'
            placed += 1
        body += f'  "p{len(body):05}": "{words(8, 14)}", "list": [1, 2],\n'
    body += '  "end": 1\n}'
    return "json", body.ljust(65536), [{tag: token(4, 20) for tag in tags} for _ in range(EVENTS)]


def work_e():
    body = "{\n"
    while len(body) < 4000:
        body += f'  "p{len(body):04}": "{words(2, 6)}", "list": [1, 2],\n'
    body += '"x":1}'
    return "json", body.ljust(4096), [{"CALL_ID": token(8, 16)} for _ in range(EVENTS)]


def work_f():
    tags = ["CALL_ID", "CAMPAIGN_NAME", "TARGET_NAME", "BUYER_NAME", "KEYWORD", "REFERRER", "VISITOR_BROWSER", "UTM_CONTENT"]
    members = [f'  "{tag.lower()}": "[{tag}]", "static_{i}": "a literal span of the template"' for i, tag in enumerate(tags)]
    return "json", "{\n" + ",\n".join(members) + "\n}", [{tag: awkward(40, 160) for tag in tags} for _ in range(EVENTS)]


def one_event():
    """60 members in 1.5 KB, as a platform would post them."""
    def value(tag):
        if tag.endswith("_ID") or tag.endswith("SID"):
            return token(6, 10)
        if "NUMERIC" in tag or "DURATION" in tag:
            return number(1, 9999)
        if "STATE" in tag:
            return "CA"
        if "NAME" in tag:
            return words(1, 2)
        return phone() if tag in ("FROM", "TO") else token(2, 6)

    return {tag.lower(): value(tag) for tag in TAGS}


# --- Files ---

def render(mode, template, event):
    """What must come out: a tag the event lacks stays as it is written."""
    def put(match):
        value = event.get(match[1])
        if value is None:
            return match[0]
        return json.dumps(value, ensure_ascii=False)[1:-1] if mode == "json" else urllib.parse.quote(value, safe="")

    return TAG.sub(put, template).encode()


def text(value):
    encoded = value.encode()
    return struct.pack("<I", len(encoded)) + encoded


def packed(work):
    names = sorted(set().union(*work["events"]))
    parts = [text(work["name"]), struct.pack("<I", work["mode"] == "url"), text(work["template"]), struct.pack("<I", len(names)), *map(text, names),
             struct.pack("<I", len(work["events"]))]
    parts += [text(event[name]) if name in event else ABSENT for event in work["events"] for name in names]
    return b"".join(parts)


def main():
    folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else HERE / "data")
    (folder / "out").mkdir(parents=True, exist_ok=True)
    makers = {"A": work_a, "B": work_b, "C": work_c, "D": work_d, "E": work_e, "F": work_f}
    works = [dict(zip(("name", "mode", "template", "events"), (name, *make()))) for name, make in makers.items()]
    for work in works:
        outputs = [render(work["mode"], work["template"], event) for event in work["events"]]
        (folder / f"out/ref.{work['name']}").write_bytes(b"".join(outputs))
    (folder / "works.json").write_text(json.dumps(works, ensure_ascii=False))
    (folder / "works.bin").write_bytes(struct.pack("<I", len(works)) + b"".join(map(packed, works)))
    (folder / "event.json").write_text(json.dumps(one_event(), separators=(",", ":")))


if __name__ == "__main__":
    main()
