#!/usr/bin/env python3
"""R65: no packet leaves for a forbidden address, whatever the engine says of itself.

    tests/faults/ssrf.py [--defect] [--json]      needs nft and the right to make a network namespace

A namespace of its own where every address on earth is this machine (a local
default route), so that nothing is unreachable: a receiver answers on all of
them, and an nft counter stands at the way out to each forbidden range. The
ranges and the corpus are written here, not taken from the engine. A DNS server
on a public address gives what a name asks for: 0a000001.v4.test is 10.0.0.1,
0a000001.late.test is public at first, then 10.0.0.1.

The control (--defect: the engine with --allow-private) must be counted.
"""
import argparse
import http.client
import http.server
import ipaddress
import json
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import threading

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "integration"))
from harness import Failed, Workspace, check, until  # noqa: E402

FORBIDDEN = (
    "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 168.63.129.16/32 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24 192.88.99.0/24"
    " 192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4"
    " ::/96 ::ffff:0:0/96 ::ffff:0:0:0/96 64:ff9b::/96 64:ff9b:1::/48 100::/64 2001::/23 2001:db8::/32 2002::/16 3fff::/20 5f00::/16 fc00::/7"
    " fe80::/10 fec0::/10 ff00::/8").split()
PUBLIC, PUBLIC6, NAMES_AT, TRAP = "11.0.0.2", "2606:4700::2", "11.0.0.1", "10.99.99.99"

# One address or more of each range, the clouds' metadata services among them.
ADDRESSES = (
    "0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.254 100.64.0.1 100.100.100.200 127.0.0.1 127.1.2.3 168.63.129.16 169.254.169.254 172.16.0.1"
    " 172.31.255.254 192.0.0.1 192.0.2.1 192.88.99.1 192.168.0.1 192.168.255.254 198.18.0.1 198.19.255.254 198.51.100.1 203.0.113.1 224.0.0.1"
    " 239.255.255.250 240.0.0.1 255.255.255.255"
    " :: ::1 ::127.0.0.1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:0:10.0.0.1 64:ff9b::7f00:1 64:ff9b::a9fe:a9fe 64:ff9b:1::1 100::1"
    " 2001:0:4136:e378:: 2001:db8::1 2002:7f00:1:: 2002:a00:1::1 3fff::1 5f00::1 fc00::1 fd00:ec2::254 fdff::1 fe80::1 fec0::1 ff02::1").split()

# U1-U20: spellings of what may not be saved.
HOSTS = (
    "127.0.0.1 127.1 2130706433 0x7f000001 0x7f.1 017700000001 0177.0.0.1 0x7f.0x0.0x0.0x1 0 0.0.0.0 [::] [::1] [::ffff:127.0.0.1]"
    " [::ffff:7f00:1] [0:0:0:0:0:ffff:7f00:1] [::127.0.0.1] [64:ff9b::7f00:1] [64:ff9b:1::1] [2002:7f00:1::] [2001:0:4136:e378::]"
    " [fe80::1%25lo] [fe80::1%lo] 169.254.169.254 0xA9FEA9FE 0251.0376.0251.0376 2852039166 [fd00:ec2::254] 100.100.100.200 168.63.129.16"
    " localhost LOCALHOST a.localhost loc%61lhost 127%2e0%2e0%2e1 127.0.0.1. localhost. ①②⑦.⓪.⓪.① 127。0。0。1 ⓛⓞⓒⓐⓛⓗⓞⓢⓣ １２７.0.0.1"
    " 127.0.0.1%00.example.com good.test@127.0.0.1 127.0.0.1@good.test good.test\\@127.0.0.1 127.0.0.1\\@good.test 10.0.0.1:22 10.0.0.1:6379"
    " 10.0.0.1:0 10.0.0.1:65536 10.0.0.1:080 10.0.0.1: a..10.0.0.1 .10.0.0.1 [10.0.0.1]").split()
URLS = ("http:/127.0.0.1/ http:///127.0.0.1/ http:////127.0.0.1/ http:127.0.0.1 127.0.0.1/ //127.0.0.1/ ftp.127.0.0.1/ file:///etc/passwd"
        " gopher://127.0.0.1:80/_x dict://127.0.0.1/ ftp://10.0.0.1/ smb://10.0.0.1/ ldap://10.0.0.1/ ws://10.0.0.1/ tftp://10.0.0.1/x"
        " telnet://10.0.0.1 imap://10.0.0.1 https://127.0.0.1/ https://10.0.0.1/ https://[::1]/ https://[fd00::1]/ https://[CALLER_STATE].v4.test/"
        " [LANDING_PAGE] http[X]://10.0.0.1/ http://[TARGET]/").split()


def hexes(address):
    return ipaddress.ip_address(address).packed.hex()


def family(address):
    return "v4" if ":" not in address else "v6"


class Names(threading.Thread):
    """Answers what a name spells; see above. Every answer's time to live is 0."""

    def __init__(self):
        super().__init__(daemon=True)
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((NAMES_AT, 53))
        self.asked = {}
        self.start()

    def addresses(self, name):
        first, kind = name.split(".")[0], name.split(".")[-2]
        packed = bytes.fromhex(first) if re.fullmatch("[0-9a-f]{8}|[0-9a-f]{32}", first) else b""
        public = [ipaddress.ip_address(a).packed for a in (PUBLIC, PUBLIC6)]
        if kind == "late":
            self.asked[name] = self.asked.get(name, 0) + 1
            return public if self.asked[name] <= 2 else [packed]  # A and AAAA of the first look-up
        return {"good": public[:1], "mixed": [*public, packed], "many": [public[0]] * 19 + [packed]}.get(kind, [packed])

    def run(self):
        while True:
            query, client = self.socket.recvfrom(2048)
            labels, at = [], 12
            while query[at]:
                labels.append(query[at + 1:at + 1 + query[at]].decode("latin-1"))
                at += 1 + query[at]
            name, kind = ".".join(labels).lower(), query[at + 1:at + 3]
            size = {b"\0\1": 4, b"\0\x1c": 16}.get(kind)
            found = [a for a in self.addresses(name) if len(a) == size] if len(labels) > 1 else []
            records, owner = [], b"\xc0\x0c"
            if labels[-2:-1] == ["alias"]:  # the name is another's, and that one's addresses are here too
                records.append(b"\xc0\x0c\0\5\0\1\0\0\0\0\0\x0a\5inner\2v4\0")
                owner = b"\5inner\2v4\0"
            records += [owner + kind + b"\0\1\0\0\0\0" + len(a).to_bytes(2, "big") + a for a in found]
            self.socket.sendto(query[:2] + b"\x81\x80\0\1" + len(records).to_bytes(2, "big") + b"\0\0\0\0" + query[12:at + 5] + b"".join(records),
                               client)


class Everywhere(http.server.ThreadingHTTPServer):
    """Answers on every address there is; remembers on which it was called."""
    address_family, daemon_threads = socket.AF_INET6, True

    def __init__(self):
        self.calls = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                here = ipaddress.ip_address(self.connection.getsockname()[0].split("%")[0])
                outer.calls.append((str(here.ipv4_mapped or here), self.path))
                body = b'{"access_token":"t","token_type":"bearer"}' if self.path.startswith("/token") else b""
                status = {"/redirect": 307, "/later": 503}.get(self.path.split("?")[0], 200)
                self.send_response(status)
                if status == 307:
                    self.send_header("Location", self.path.split("?to=")[1])
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST

            def log_message(self, *_):
                pass

        super().__init__(("::", 80), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Wall:
    """Counters at the way out, one for each forbidden range."""

    def __init__(self):
        counters, rules = [], []
        for n, cidr in enumerate(FORBIDDEN):
            counters.append(f"counter c{n} {{ }}")
            rules.append(f"{'ip6' if ':' in cidr else 'ip'} daddr {cidr} counter name \"c{n}\"")
        text = "\n".join(["table inet wall {", *counters, "chain out { type filter hook output priority 0; policy accept;", *rules, "}", "}", ""])
        subprocess.run(["nft", "-f", "-"], input=text, text=True, check=True)

    def counted(self):
        """Packets since the last call, by range."""
        text = subprocess.run(["nft", "reset", "counters"], capture_output=True, text=True, check=True).stdout
        found = dict(re.findall(r"counter c(\d+) \{\s*packets (\d+)", text))
        check(len(found) == len(FORBIDDEN), f"nft shows {len(found)} counters")
        return {cidr: int(found[str(n)]) for n, cidr in enumerate(FORBIDDEN) if int(found[str(n)])}


class Engine:
    """tuma serve, spoken to over its control socket, which takes no packet."""
    BAIT = {name: f"http://{TRAP}:3128" for name in ("http_proxy", "https_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy")}

    def __init__(self, w, *flags):
        self.path = w.data / "control.sock"
        (w.path / ".netrc").write_text(f"machine {PUBLIC} login eve password hidden\n")
        self.key_log = w.path / "keys.log"
        env = {**self.BAIT, "HOME": str(w.path), "SSLKEYLOGFILE": str(self.key_log), "TUMA_SECRET_S": "geheim123"}
        self.process = w.start(["serve", *w.settings(), "--listen", "127.0.0.1:0", "--allow-http", "--dns", NAMES_AT, "--log-format", "json", *flags],
                               r'"listening"', "engine", env)

    def ask(self, method, path, body=None):
        connection = http.client.HTTPConnection("engine", timeout=30)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(30)
        connection.sock.connect(str(self.path))
        connection.request(method, path, None if body is None else json.dumps(body), {"Content-Type": "application/json"} if body is not None else {})
        answer = connection.getresponse()
        document = json.loads(answer.read() or b"null")
        connection.close()
        return answer.status, document

    def post(self, *events):
        for event in events:
            status, document = self.ask("POST", "/v1/events", event)
            check(status == 202, f"posting {event}: {status} {document}")

    def idle(self):
        """Until nothing is due any more. What a file that is now refused had accepted waits for its author."""
        def pending():
            rows = self.ask("GET", "/v1/deliveries?state=pending&limit=20")[1]["deliveries"]
            return [row for row in rows if row["webhook"] != "storedliteral"]
        try:
            until(lambda: pending() == [], 60, "the last attempt")
        except Failed as problem:
            raise Failed(f"{problem}: {json.dumps(pending())}") from problem

    def deliveries(self):
        """(webhook, state, last error or reason) of every delivery."""
        rows, cursor = [], ""
        while cursor is not None:
            page = self.ask("GET", "/v1/deliveries?limit=500" + (f"&cursor={cursor}" if cursor else ""))[1]
            rows += page["deliveries"]
            cursor = page["next"]
        return rows


def hook(url, on="call.completed", more="", functions="", retry="retry = { 1 },"):
    quoted = url.replace("\\", "\\\\").replace('"', '\\"')
    return f'local hook = {{ on = {{ "{on}" }}, {retry} {more} request = {{ url = "{quoted}", body = "{{}}" }} }}\n{functions}\nreturn hook\n'


def token(url):
    return f'secrets = {{ "S" }}, auth = {{ type = "oauth2", url = "{url}", client = "c", secret = "S" }},'


def corpus():
    """(name, webhook): every way out that a webhook's author has."""
    for n, host in enumerate(HOSTS):
        yield f"host{n}", hook(f"http://{host}/x")
    for n, url in enumerate(URLS):
        yield f"url{n}", hook(url)
    for n, address in enumerate(ADDRESSES):
        literal = f"[{address}]" if ":" in address else address
        name = f"{hexes(address)}.{family(address)}.test"
        yield f"literal{n}", hook(f"http://{literal}/x")
        yield f"name{n}", hook(f"http://{name}/x")
        if n % 4:
            continue
        yield f"token{n}", hook(f"http://{PUBLIC}/x", more=token(f"http://{name}/token"))
        yield f"redirect{n}", hook(f"http://{PUBLIC}/redirect?to=http://{literal}/x".replace("[", "%5B").replace("]", "%5D"))
        change = f'function hook.transform(event, request) request.url = "http://{literal}/x" return request end'
        yield f"script{n}", hook(f"http://{PUBLIC}/x", functions=change)
    for kind in ("late", "mixed", "many", "alias"):
        for n, address in enumerate(("10.0.0.1", "127.0.0.1", "169.254.169.254", "::1", "fd00::1")):
            yield f"{kind}{n}", hook(f"http://{hexes(address)}.{kind}.test/later", retry="retry = { 2 },")
    yield "tokenliteral", hook(f"http://{PUBLIC}/x", more=token("http://10.0.0.1/token"))
    yield "https", hook(f"https://{hexes('10.0.0.1')}.v4.test/x")
    yield "port", hook(f"http://{hexes('10.0.0.1')}.v4.test:8080/x")
    yield "good", hook(f"http://{PUBLIC}/good")
    yield "goodname", hook("http://a.good.test/goodname")
    yield "goodtoken", hook(f"http://{PUBLIC}/goodtoken", more=token(f"http://{PUBLIC}/token"))


STORED = [("stored", f"http://{hexes('10.0.0.7')}.v4.test/later"), ("storedliteral", "http://10.0.0.8/later")]


def run(defect, only):
    wall, receiver = Wall(), Everywhere()
    Names()
    result = {}
    with Workspace() as w:
        # What was accepted while private addresses were open (U28) is sent again when they are closed.
        for name, url in STORED:
            w.hook(name, hook(url, on="call.connected", retry='retry = "none",'))
        engine = Engine(w, "--allow-private")
        engine.post({"type": "call.connected", "id": "early"})
        engine.idle()
        engine.process.stop()
        result["open before"] = wall.counted()

        chosen = [(name, text) for name, text in corpus() if re.match(only, name)]
        for name, text in chosen:
            w.hook(name, text)
        receiver.calls.clear()
        engine = Engine(w, *(["--allow-private"] if defect else []))
        engine.post({"type": "call.completed", "id": "e1", "tags": {"CALLER_STATE": hexes("10.0.0.1"), "LANDING_PAGE": "http://10.0.0.1/",
                                                                    "TARGET": "10.0.0.1"}})
        engine.idle()
        result["live"] = wall.counted()
        for name, _ in STORED:
            engine.ask("POST", "/v1/redeliver", {"webhook": name})
        status, document = engine.ask("POST", "/v1/redeliver", {"state": "exhausted,parked"})
        check(status < 300, f"redeliver: {status} {document}")
        engine.idle()
        result["redelivered"] = wall.counted()
        deliveries = engine.deliveries()
        key_log = engine.key_log.exists()
        engine.process.stop()

        # The same webhooks without a server: tuma run.
        events = w.path / "events.ndjson"
        events.write_text('{"type":"call.completed","id":"r1","tags":{"CALLER_STATE":"0a000001"}}\n')
        shutil.rmtree(w.data)
        out = w.tuma("run", str(events), "--wait", "0", "--allow-http", "--dns", NAMES_AT, *(["--allow-private"] if defect else []), env=Engine.BAIT)
        check("1 events stored" in out.stdout, out.stderr[-2000:])
        result["tuma run"] = wall.counted()
    counts = {}
    for row in deliveries:
        counts[row["state"]] = counts.get(row["state"], 0) + 1
    forbidden = [ipaddress.ip_network(cidr) for cidr in FORBIDDEN]
    reached = sorted({at for at, _ in receiver.calls if any(ipaddress.ip_address(at) in net for net in forbidden)})
    errors = {(row.get("last_error") or "").split(":")[0] for row in deliveries if re.match("name|late|mixed|alias|token\\d", row["webhook"])}
    result.update(webhooks=len(chosen), states=counts, receiver=len(receiver.calls), reached=reached, errors=sorted(errors),
                  public=sorted({path for _, path in receiver.calls if path.startswith("/good")}),
                  rebound=sum(1 for row in deliveries if row["webhook"].startswith("late") and row.get("last_error") == "the address may not be dialled"),
                  key_log=key_log, packets=sum(sum(result[p].values()) for p in ("live", "redelivered", "tuma run")))
    return result


def missing():
    """Why this machine cannot show it, or None."""
    if not shutil.which("nft") or not shutil.which("ip"):
        return "nft and ip are not installed"
    probe = subprocess.run(["unshare", "-rn", "sh", "-c", "ip link set lo up && ip route add local default dev lo && ip -6 route add local default dev lo"
                            " && nft add table inet probe"], capture_output=True, text=True)
    return None if probe.returncode == 0 else f"no network namespace here: {(probe.stderr.strip() or 'refused').splitlines()[0]}"


def inside(defect, only=""):
    """Runs in a namespace of its own: what came of it."""
    command = ["unshare", "-rn", sys.executable, str(pathlib.Path(__file__).resolve()), "--inside", "--only", only, *(["--defect"] if defect else [])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    check(done.returncode == 0, done.stderr[-3000:])
    return json.loads(done.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--defect", action="store_true")
    parser.add_argument("--only", default="", help="webhooks whose name matches")
    parser.add_argument("--json", action="store_true", help="everything that was seen")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        # The engine's own address is public too, or every answer to it would be counted.
        for words in ("link set lo up", "addr add 2606:4700::1/128 dev lo nodad", *(f"{v} route add local default dev lo" for v in ("-4", "-6"))):
            subprocess.run(["ip", *words.split()], check=True)
        print(json.dumps(run(options.defect, options.only)))
        return 0
    why = missing()
    if why:
        print(f"ok 1 - no packet to a forbidden address # SKIP {why}\n1..1")
        return 0
    result = inside(options.defect, options.only)
    fine = (result["packets"] > 0) == options.defect
    print(f"{'ok' if fine else 'FAIL'} R65{' control' if options.defect else ''}: {result['packets']} packets to forbidden addresses,"
          f" {result['webhooks']} webhooks, {sum(result['states'].values())} deliveries")
    if options.json or not fine:
        print(json.dumps(result, indent=1))
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
