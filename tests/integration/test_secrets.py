"""Secrets stay where they belong: twenty canaries, used in every way there is,
and nothing of them in a log, the store, an answer or a core dump."""
import base64
import os
import pathlib
import re
import resource
import signal
import subprocess
import sys
import time

from harness import TUMA, Receiver, Workspace, check, equal, main, until

CANARIES = {f"C{n}": f"canary{n:02}-7f3a9c" for n in range(20)}


def hook(url, request="", more="", functions="", body="{}"):
    return f"""local hook = {{ on = {{ "call.*" }}, retry = {{ 0.1 }}, {more}
  request = {{ url = "{url}", body = [=[{body}]=], {request} }} }}
{functions}
return hook"""


def plant(w, r):
    """Webhooks that use every canary, and receivers that echo, refuse and redirect."""
    w.hook("template", hook(f"{r.url}/a?key=[SECRET:C0]", 'headers = { ["X-Key"] = "[SECRET:C1]" }', body='{"k":"[SECRET:C2]"}'))
    w.hook("sign", hook(r.url, more='sign = { scheme = "github", secret = "C3", previous = "C4" },'))
    w.hook("basic", hook(r.url, more='auth = { type = "basic", user = "u", secret = "C5" },'))
    w.hook("bearer", hook(f"{r.url}/fail", more='auth = { type = "bearer", secret = "C6" },'))
    w.hook("oauth", hook(r.url, more=f'auth = {{ type = "oauth2", url = "{r.url}/token", client = "c", secret = "C7" }},'))
    w.hook("oauthfails", hook(r.url, more=f'auth = {{ type = "oauth2", url = "{r.url}/fail", client = "c", secret = "C8" }},'))
    w.hook("refused", hook("http://127.0.0.1:9999/?k=[SECRET:C9]"))
    w.hook("blocked", hook("http://169.254.169.254.nip.test/?k=[SECRET:C10]"))
    w.hook("header", hook(r.url, 'headers = { ["X-Key"] = "a[SECRET:C11]" }', body='{"x":"[SECRET:C12]","y":"[CALL_ID]"}'))
    w.hook("form", hook(r.url, 'format = "form"', body="k=[SECRET:C13]"))
    w.hook("redirect", hook(f"{r.url}/redirect?k=[SECRET:C14]"))
    w.hook("places", hook(r.url, more='secrets = { "C18" },',
                          functions="function hook.transform(event, request) request.headers['X-Mac'] = secret.get('C18'); request.body = { k = secret.get('C18') }"
                                    " return request end"))
    w.hook("script", hook(r.url, more='secrets = { "C15" },',
                          functions="function hook.transform(event, request) request.headers['X-Mac'] = hash.hmac_sha256(secret.get('C15'), 'x') return request end"))


def answer(request):
    echo = (request["body"] + str(request["headers"]).encode() + request["target"].encode())[:4000]
    if request["target"].startswith("/token"):
        return 200, {}, b'{"access_token":"tok","token_type":"bearer"}'
    if request["target"].startswith("/redirect"):
        return 302, {"Location": request["target"] + "2"}, echo
    return (500 if request["target"].startswith("/fail") else 200), {"X-Echo": request["headers"].get("x-key", "-")}, echo


def spellings(secret):
    yield secret
    yield base64.b64encode(secret.encode()).decode().rstrip("=")[:-1]
    yield base64.b64encode(f"u:{secret}".encode()).decode()
    yield secret.encode().hex()


def leaks(text):
    return sorted({name for name, secret in CANARIES.items() for s in spellings(secret) if s in text})


def test_canaries_are_in_no_log_store_or_answer():
    with Workspace() as w, Receiver(answer) as r:
        plant(w, r)
        for n in range(10):
            equal(w.tuma("secret", "set", f"C{n}", stdin=CANARIES[f"C{n}"] + "\n").returncode, 0)
        engine = w.engine("--log-level", "debug", env={f"TUMA_SECRET_C{n}": CANARIES[f"C{n}"] for n in range(10, 20)})
        engine.post({"id": "e1", "type": "call.completed", "tags": {"CALL_ID": "c1"}})
        until(lambda: not engine.log("--state", "pending"), 30, "all settled")
        used = "".join(str(q["headers"]) + q["target"] + q["body"].decode() for q in r.requests)
        equal([n for n in (0, 1, 2, 6, 11, 12, 13, 14, 18) if CANARIES[f"C{n}"] not in used], [], "secrets that did not reach the receiver")
        rows = engine.log()
        equal(len(rows), 13, f"{engine.process.text()}")
        said = [engine.process.text(), w.tuma("secret", "list").stdout, w.tuma("check", str(w.scripts)).stdout]
        for row in rows:
            shown = w.tuma("show", str(row["id"]))
            said += [shown.stdout, w.tuma("show", "--json", str(row["id"])).stdout, str(engine.request("GET", f"/v1/deliveries/{row['id']}"))]
        for path in ("/v1/deliveries", "/v1/status", "/v1/webhooks", "/v1/scripts"):
            said.append(str(engine.request("GET", path)))
        said.append(w.tuma("render", "template", "--event", "-", stdin='{"type":"call.completed"}').stdout)
        said.append(pathlib.Path(f"/proc/{engine.process.process.pid}/cmdline").read_text())
        engine.process.stop()
        said.append(engine.process.text())
        equal(leaks("\n".join(said)), [], "told")
        disk = b"".join(p.read_bytes() for p in w.data.iterdir() if p.is_file())
        equal(leaks(disk.decode("latin-1")), [], "stored in the clear")
        check(b"c1" in disk and len(disk) > 10000, "something was stored")


def test_what_a_script_logs_or_throws_is_blotted():
    with Workspace() as w, Receiver(answer) as r:
        w.hook("logs", hook(r.url, more='secrets = { "C16" },', functions="function hook.filter(event) log.warn('have ' .. secret.get('C16')) return true end"))
        w.hook("throws", hook(r.url, more='secrets = { "C17" },', functions="function hook.filter(event) error('bad key ' .. secret.get('C17')) end"))
        engine = w.engine(env={f"TUMA_SECRET_{name}": value for name, value in CANARIES.items()})
        engine.post({"id": "e1", "type": "call.completed", "tags": {"CALL_ID": "c1"}})
        until(lambda: engine.states() == {"delivered": 1, "parked": 1}, 20, "one delivered, one parked")
        check("have ***" in engine.process.text() and "bad key ***" in str(engine.log()), f"{engine.process.text()} {engine.log()}")
        equal(leaks(engine.process.text() + str(engine.log())), [], "told")


def dumps_core(process):
    """Did the process, ended by a fault, leave a core?"""
    status = os.waitpid(process.pid, 0)[1]
    check(os.WIFSIGNALED(status), f"status {status}")
    return os.WCOREDUMP(status)


def unlimited():
    resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def test_a_fault_leaves_no_core():
    if resource.getrlimit(resource.RLIMIT_CORE)[1] != resource.RLIM_INFINITY:
        return  # no process may dump here, so nothing can be shown
    with Workspace() as w:
        control = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], cwd=w.path, preexec_fn=unlimited)
        time.sleep(0.1)
        control.send_signal(signal.SIGSEGV)
        if not dumps_core(control):
            return
        w.hook("crm", hook("http://127.0.0.1:9/"))
        log = open(w.path / "out", "w")
        engine = subprocess.Popen([TUMA, "serve", *w.settings(), "--listen", "127.0.0.1:0"], cwd=w.path, preexec_fn=unlimited, stdout=log, stderr=log,
                                  env=dict(os.environ, TUMA_SECRET_C0=CANARIES["C0"], ASAN_OPTIONS="handle_segv=0:disable_coredump=0",
                                           TSAN_OPTIONS="handle_segv=0:disable_coredump=0"))
        until(lambda: "listening" in (w.path / "out").read_text(), 20, "the engine is up")
        limits = pathlib.Path(f"/proc/{engine.pid}/limits").read_text()
        check(re.search(r"Max core file size +0 +0 ", limits), limits)
        engine.send_signal(signal.SIGSEGV)
        check(not dumps_core(engine), "a core was dumped")
        log.close()


if __name__ == "__main__":
    main(globals())
