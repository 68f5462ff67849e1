#!/usr/bin/env python3
"""A recorded day of calls, made from a fixed seed: whole call flows with the
tags a platform knows at each moment. NDJSON on standard output.

    tests/day.py [--calls 60] [--seed 20261124]
"""
import argparse
import json
import random
from datetime import datetime, timedelta, timezone

CAMPAIGNS = [("c-101", "Medicare Leads Q1"), ("c-102", 'Solar "West" & More'), ("c-103", "Auto/Home Bundle"),
             ("c-104", "Seguro Médico — Español"), ("c-105", "Roofing\\Storm")]
PUBLISHERS = [("p-1", "Acme Media"), ("p-2", "Übersee Leads GmbH"), ("p-3", "Lead & Co"), ("p/4", "100% Calls")]
TARGETS = [("t-1", "Premium Insurance", "number", "b-1", "Premium Group"), ("t-2", "Solar West", "sip", "b-2", "Sunny <Buyers>"),
           ("t-3", "Night Desk", "number", "b-3", "Overflow, Inc.")]
CITIES = [("Los Angeles", "CA", "90001"), ("San José", "CA", "95101"), ("New York", "NY", "10001"), ("Houston", "TX", "77001"),
          ("Miami", "FL", "33101"), ("Las Vegas", "NV", "88901"), ("Montréal", "VT", "05401")]
SOURCES = ["google_ads", "facebook", "bing", "newsletter", "direct"]
BROWSERS = ["Chrome 120 (Windows)", "Safari/17 \"iPhone\"", "Firefox 121"]
MARKS = [5, 15, 30, 45, 60]


class Day:
    def __init__(self, seed):
        self.random = random.Random(seed)
        self.clock = datetime(2026, 11, 23, 8, 0, 0, tzinfo=timezone.utc)
        self.events = []

    def identifier(self, n):
        return "".join(self.random.choice("abcdefghijklmnopqrstuvwxyz0123456789") for _ in range(n))

    def emit(self, at, kind, org, tags):
        stamp = at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"
        event = {"id": f"evt_{len(self.events):05d}_{self.identifier(6)}", "type": kind, "org": org, "time": stamp, "tags": dict(tags)}
        self.events.append((at, len(self.events), event))

    def visitor(self, tags, city):
        r = self.random
        click = self.identifier(22)
        source = r.choice(SOURCES)
        tags.update(UTM_SOURCE=source, UTM_MEDIUM="cpc", UTM_CAMPAIGN=r.choice(["spring", "q1 brand", "50%-off"]), KEYWORD=r.choice(["cheap cover", "solar+battery", "toît réparation"]),
                    LANDING_PAGE=f"https://www.{r.choice(['getquote', 'sunny-day'])}.example/lp/{self.identifier(5)}?utm_source={source}&gclid={click}",
                    VISITOR_ID=self.identifier(12), VISITOR_CITY=city[0], VISITOR_STATE=city[1], VISITOR_ZIP=city[2], VISITOR_COUNTRY="US",
                    VISITOR_IP=f"203.0.113.{r.randint(1, 254)}", VISITOR_BROWSER=r.choice(BROWSERS))
        if source == "google_ads":
            tags["GCLID"] = click
        if source == "facebook":
            tags["FBCLID"] = click

    def call(self):
        r = self.random
        self.clock += timedelta(milliseconds=r.randint(20_000, 480_000))
        at, org = self.clock, r.choice(["acme", "acme", "globex"])
        campaign, publisher, target, city = r.choice(CAMPAIGNS), r.choice(PUBLISHERS), r.choice(TARGETS), r.choice(CITIES)
        caller = "+1" + r.choice(["310", "212", "713", "305", "702"]) + "555" + f"{r.randint(0, 9999):04d}"
        tags = {"CALL_SID": "CA" + self.identifier(16), "CALL_ID": "call_" + self.identifier(12), "FROM": caller, "TO": "+18005550" + f"{r.randint(100, 199)}",
                "CALLER_ID": caller, "CALLER_ZIP": city[2], "CALLER_STATE": city[1], "STATE": city[1], "ZIP_CODE": city[2], "ORG_ID": org,
                "CAMPAIGN_ID": campaign[0], "CAMPAIGN_NAME": campaign[1], "PUBLISHER_ID": publisher[0], "PUBLISHER_NAME": publisher[1],
                "INBOUND_CALL_ID": "in_" + self.identifier(10), "lead_type": r.choice(["inbound", "transfer", "Q&A"])}
        if r.random() < 0.6:
            self.visitor(tags, city)
        self.emit(at, "call.incoming", org, tags)
        tags.update(TARGET_ID=target[0], TARGET_NAME=target[1], TARGET_TYPE=target[2], BUYER_ID=target[3], BUYER_NAME=target[4])
        if r.random() < 0.12:
            self.emit(at + timedelta(seconds=25), "call.failure", org, tags)
            return
        answered = at + timedelta(milliseconds=r.randint(2_000, 14_000))
        self.emit(answered, "call.connected", org, tags)
        seconds = r.choice([3, 9, 22, 41, 58, 60, 95, 145, 301, 722]) + r.randint(0, 2)
        for mark in MARKS:
            if seconds >= mark:
                self.emit(answered + timedelta(seconds=mark), f"call.on_{mark}_secs_mark", org, tags)
        over = answered + timedelta(seconds=seconds)
        tags.update(DURATION=seconds, INBOUND_DURATION=seconds + 7, OUTBOUND_DURATION=seconds, CALL_TERMINATION_BY=r.choice(["CALLER", "TARGET"]))
        self.emit(over, "call.hangup", org, tags)
        converted = seconds >= 60 and r.random() < 0.7
        revenue = r.choice(["35.00", "120.50", "8.00"])
        tags.update(CONVERTED=converted, REVENUE_PAID_OUT=revenue if converted else "0.00", PAYOUT="$" + ("20.00" if converted else "0.00"))
        self.emit(over + timedelta(milliseconds=900), "call.completed", org, tags)
        if converted:
            tags["CALL_CONVERTED_AT"] = over.strftime("%Y-%m-%dT%H:%M:%SZ")
            self.emit(over + timedelta(milliseconds=1400), "call.converted", org, tags)


def make(calls, seed):
    day = Day(seed)
    for _ in range(calls):
        day.call()
    return [event for _, _, event in sorted(day.events, key=lambda e: e[:2])]


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--calls", type=int, default=60)
    options.add_argument("--seed", type=int, default=20261124)
    options = options.parse_args()
    for line in make(options.calls, options.seed):
        print(json.dumps(line, ensure_ascii=False, separators=(",", ":")))
