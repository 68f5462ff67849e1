"""Tokens, sending and administration against the real engine, black box."""
import http.client
import json
import os
import signal
import socket

from harness import Workspace, check, equal, main, until

HOOK = """return { on = { "call.completed" }, retry = { 60 }, request = { url = "%s/crm", body = [=[{"id":"[CALL_ID]"}]=] } }"""


def event(n, **more):
    return {"id": f"e{n}", "type": "call.completed", "tags": {"CALL_ID": f"c{n}"}, **more}


def control(w, method, path, body=None):
    """One request over the control socket."""
    connection = http.client.HTTPConnection("localhost", timeout=30)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(str(w.data / "control.sock"))
    connection.request(method, path, json.dumps(body) if body is not None else None, {"Content-Type": "application/json"} if body is not None else {})
    answer = connection.getresponse()
    document = json.loads(answer.read())
    connection.close()
    return answer.status, document


def test_a_token_is_made_before_the_first_start_and_opens_the_door():
    with Workspace() as w:
        made = w.tuma("token", "create", "--label", "shop")
        equal(made.returncode, 0, made.stderr)
        token = made.stdout.strip()
        engine = w.engine("--require-token")
        equal(engine.post(event(1))[0], 401)
        equal(engine.post(event(1), Authorization=f"Bearer {token}")[0], 202)
        equal(engine.request("GET", "/v1/status", headers={"Authorization": f"Bearer {token}"})[0], 403)
        admin = json.loads(w.tuma("token", "create", "--scopes", "admin", "--json").stdout)
        equal(engine.request("GET", "/v1/status", headers={"Authorization": f"Bearer {admin['token']}"})[0], 200)
        listed = [json.loads(line) for line in w.tuma("token", "list", "--json").stdout.splitlines()]
        equal({row["scopes"] for row in listed}, {"ingest", "admin"})
        check(token not in w.tuma("token", "list").stdout, "a listed token shows its secret")
        equal(w.tuma("token", "revoke", token).returncode, 0)
        equal(engine.post(event(2), Authorization=f"Bearer {token}")[0], 401)
        check(token not in engine.process.text() and admin["token"] not in engine.process.text(), "a token is in the log")
        for path in w.data.iterdir():
            if path.is_file():
                check(token.encode() not in path.read_bytes(), f"the token stands in {path.name}")


def test_send_posts_lines_and_arrays():
    with Workspace() as w:
        sink = w.sink()
        w.hook("crm", HOOK % sink.url)
        engine = w.engine()
        lines = "".join(json.dumps(event(n)) + "\n" for n in range(800))
        sent = w.tuma("send", "-", "--json", stdin=lines)
        equal((sent.returncode, json.loads(sent.stdout)), (0, {"stored": 800, "known": 0, "refused": 0}), sent.stderr)
        again = w.tuma("send", "-", "--json", "--url", f"http://127.0.0.1:{engine.port}", stdin=lines + "broken\n")
        equal((again.returncode, json.loads(again.stdout)), (1, {"stored": 0, "known": 800, "refused": 1}))
        check("-:801: " in again.stderr, f"the line is named: {again.stderr}")
        array = w.tuma("send", "-", "--json", stdin=json.dumps([event(5000), event(5001)], indent=1))
        equal(json.loads(array.stdout)["stored"], 2)
        until(lambda: engine.states() == {"delivered": 802}, 30, "all delivered")


def test_send_says_when_nobody_listens():
    with Workspace() as w:
        equal(w.tuma("send", "-", stdin=json.dumps(event(1))).returncode, 5)


def test_a_paused_webhook_waits_for_release():
    with Workspace() as w:
        sink = w.sink()
        w.hook("crm", HOOK % sink.url)
        engine = w.engine()
        equal(control(w, "POST", "/v1/webhooks/crm/pause"), (200, {"webhook": "crm", "state": "paused"}))
        equal(engine.post(event(1))[0], 202)
        listed = control(w, "GET", "/v1/webhooks")[1]["webhooks"]
        equal([(row["name"], row["state"]) for row in listed], [("crm", "paused")])
        equal(len(sink.requests()), 0)
        equal(control(w, "POST", "/v1/webhooks/crm/release")[0], 200)
        sink.wait(1)
        equal(control(w, "POST", "/v1/wait-idle"), (200, {"idle": True}))
        rows = control(w, "GET", "/v1/deliveries?webhook=crm&state=delivered")[1]["deliveries"]
        equal(len(rows), 1)
        shown = control(w, "GET", f"/v1/deliveries/{rows[0]['id']}")[1]
        equal((shown["request"]["body"], shown["attempts"][0]["status"]), ('{"id":"c1"}', 200))


def test_a_broken_script_is_shown_with_its_error():
    with Workspace() as w:
        w.hook("crm", "return {")
        w.engine()
        scripts = control(w, "GET", "/v1/scripts")[1]["scripts"]
        check(scripts and "crm.lua:1" in scripts[0]["error"] and not scripts[0]["live"], f"scripts: {scripts}")


def test_stopping_does_not_wait_for_waiters():
    with Workspace() as w:
        sink = w.sink("--fail-first", "1")
        w.hook("crm", HOOK % sink.url)
        engine = w.engine()
        engine.post(event(1))
        sink.wait(1)
        waiter = socket.socket(socket.AF_UNIX)
        waiter.connect(str(w.data / "control.sock"))
        waiter.sendall(b"POST /v1/wait-idle HTTP/1.1\r\nHost: x\r\nContent-Length: 19\r\n\r\n{\"wait_ms\":3600000}")
        idle = socket.create_connection(("127.0.0.1", engine.port))
        equal(control(w, "GET", "/v1/status")[0], 200)
        equal(engine.process.stop(signal.SIGTERM), 0)
        check(waiter.recv(100).startswith(b"HTTP/1.1 503 "), "the waiter was told")
        equal(idle.recv(100), b"")
        check(not os.path.exists(w.data / "control.sock"), "the control socket is gone")


if __name__ == "__main__":
    main(globals())
