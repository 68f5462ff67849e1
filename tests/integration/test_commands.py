"""The commands as a person meets them: what they print, what they refuse, how they exit."""
import json
import re
import shutil
import subprocess

from harness import ROOT, TUMA, Workspace, check, equal, main, until

HOOK = """return { on = { "call.completed" }, retry = { 60 }, request = { method = "POST", url = "%s/%s?q=[CALL_ID]",
  headers = { Authorization = "Bearer [SECRET:TOKEN]" }, body = [=[{"id":"[CALL_ID]"}]=] } }
"""
COMMANDS = ("serve", "run", "send", "check", "render", "test", "diff", "new", "log", "show", "redeliver", "drop", "scripts", "events", "secret",
            "token", "sink", "bench")


def event(n, **more):
    return {"id": f"e{n}", "type": "call.completed", "tags": {"CALL_ID": f"c{n}"}, **more}


def plain(*arguments, stdin=None):
    """Without the workspace's settings."""
    return subprocess.run([TUMA, *arguments], input=stdin, capture_output=True, text=True, timeout=60)


def refuses(done, status, *texts):
    equal(done.returncode, status, done.stdout + done.stderr)
    for text in texts:
        check(text in done.stderr, f"{text!r} is not in {done.stderr!r}")


def test_every_command_explains_itself():
    out = plain("--help").stdout
    for name in COMMANDS:
        check(f"  {name} " in out, f"{name} is not listed")
        done = plain(name, "--help")
        equal((done.returncode, done.stdout.split("\n")[0].startswith(f"Usage: tuma {name}")), (0, True), name)
        equal(plain(name, "-h").stdout, done.stdout, name)
    check(plain("--version").stdout.startswith("tuma "), "version")
    equal(plain().returncode, 2)


def test_slips_in_the_command_line_are_named():
    with Workspace() as w:
        w.tuma("token", "create")  # makes the store
        refuses(plain("serv"), 2, 'did you mean "serve"')
        refuses(w.tuma("log", "--webhok", "x"), 2, "did you mean --webhook")
        refuses(w.tuma("log", "--limit", "many"), 2, '--limit takes a whole number, not "many"')
        refuses(w.tuma("log", "--since", "soon"), 2, "a duration like 90s or 5m")
        refuses(plain("log", "--limit"), 2, "--limit takes a value")
        refuses(w.tuma("log", "--state", "lost"), 2, 'no state "lost"')
        refuses(w.tuma("serve", "more"), 2, "takes no argument")
        refuses(w.tuma("run", str(w.path / "nothing")), 2, "No such file")
        for name in ("show", "diff", "render", "run", "secret", "bench"):
            equal((plain(name) if name == "bench" else w.tuma(name)).returncode, 2, name)
        conf = w.path / "tuma.conf.lua"
        conf.write_text("return { prot = 1 }")
        refuses(w.tuma("log", "--config", str(conf)), 3, "prot")
        conf.write_text("return { port = }")
        refuses(w.tuma("log", "--config", str(conf)), 3, "tuma.conf.lua:1")
        refuses(w.tuma("log", "--config", str(w.path / "none.lua")), 3)


def test_secrets_are_kept_listed_and_removed_and_never_shown():
    with Workspace() as w:
        equal(w.tuma("secret", "set", "TOKEN", stdin="sesame-open\n").returncode, 0)
        equal(w.tuma("secret", "set", "OTHER", stdin="x").returncode, 0)
        equal(sorted(w.tuma("secret", "list").stdout.split()), ["OTHER", "TOKEN"])
        equal(w.tuma("secret", "remove", "OTHER").returncode, 0)
        equal(w.tuma("secret", "list").stdout.split(), ["TOKEN"])
        equal(w.tuma("secret", "remove", "OTHER").returncode, 0, "gone is gone")
        refuses(w.tuma("secret", "set", "EMPTY", stdin=""), 2, "there was none")
        refuses(w.tuma("secret", "set", "bad name", stdin="x"), 4)
        refuses(w.tuma("secret", "set", "LARGE", stdin="x" * 20000), 2, "too large")
        for path in w.data.iterdir():
            check(not path.is_file() or b"sesame-open" not in path.read_bytes(), f"the secret stands in {path.name}")
        sink = w.sink()
        w.hook("crm", HOOK % (sink.url, "crm"))
        engine = w.engine()
        engine.post(event(1))
        sent = dict(sink.wait(1)[0]["headers"])
        equal(sent["Authorization"], "Bearer sesame-open")
        until(lambda: engine.states() == {"delivered": 1}, what="delivered")
        shown = w.tuma("show", str(engine.log()[0]["id"]))
        check("[SECRET:TOKEN]" in shown.stdout and "sesame" not in shown.stdout, shown.stdout)


def test_new_writes_a_webhook_that_checks_clean_and_overwrites_nothing():
    with Workspace() as w:
        made = w.tuma("new", "first-hook")
        equal((made.returncode, made.stdout.strip()), (0, str(w.scripts / "first-hook.lua")))
        equal(w.tuma("check").returncode, 0)
        equal(w.tuma("test").returncode, 0)
        refuses(w.tuma("new", "first-hook"), 2, "File exists")
        for name in ("Upper", "a/b", "x" * 65, "some_test", ""):
            refuses(w.tuma("new", name), 2, "lower-case letters")
        equal(w.tuma("new", "--editor").returncode, 0)
        equal(w.tuma("new", "--editor").returncode, 0, "made again")
        refuses(w.tuma("new", "--editor", "other"), 2, "takes --editor, or one NAME")
        equal(w.tuma("check", "first-hook").stdout, "1 file checked: 0 errors, 0 warnings\n")
        equal(w.tuma("test", "first-hook").stdout.splitlines()[-1], "2 passed, 0 failed")
        refuses(w.tuma("test", "second-hook"), 2, "second-hook: No such file or directory")


def test_the_editors_files_know_every_setting_tag_and_global():
    with Workspace() as w:
        equal(w.tuma("new", "--editor").returncode, 0)
        meta = (w.scripts / ".meta.lua").read_text()
        keys = re.search(r"names\[\] = {([^}]*)}", (ROOT / "core/hook_build.c").read_text().split("void check_top_keys")[1])[1]
        for key in set(re.findall(r'"(\w+)"', keys)) - {"stages", "remarks"}:
            check(re.search(rf"^---@field {key}\?? ", meta, re.M), f"{key} is no field of tuma.hook")
        for tag in json.loads(w.tuma("tags", "--json").stdout)["tags"]:
            check(f"---@field {tag['name']} string? {tag['description']}\n" in meta, f"{tag['name']} is not completed")
        if not shutil.which("luacheck"):
            return
        for path in (ROOT / "scripts").glob("*.lua"):
            shutil.copy(path, w.scripts)
        done = subprocess.run(["luacheck", "--no-color", "."], cwd=w.scripts, capture_output=True, text=True, timeout=60)
        equal(done.returncode, 0, done.stdout)
        w.hook("wrong", "local hook = { on = { 'a.b' } }\nfunction hook.tags(event) return { A = fone.digits('1') + math.flor(1) } end\nreturn hook\n")
        done = subprocess.run(["luacheck", "--no-color", "wrong.lua"], cwd=w.scripts, capture_output=True, text=True, timeout=60)
        check("wrong.lua:2:40: accessing undefined variable 'fone'" in done.stdout and "undefined field 'flor'" in done.stdout, done.stdout)


def test_check_names_every_finding_with_its_place():
    with Workspace() as w:
        w.hook("good", HOOK % ("https://x.example", "a"))
        w.hook("syntax", "return {\n  on = {")
        w.hook("unknown", HOOK.replace("[CALL_ID]", "[CALLID]") % ("https://x.example", "a"))
        w.hook("fails", """local hook = { on = { "call.completed" }, request = { url = "https://x.example/" } }
hook.tests = { { name = "never", event = { CALL_ID = "1" }, filter = false } }
return hook""")
        done = w.tuma("check")
        equal(done.returncode, 1)
        check("syntax.lua:2" in done.stdout and ": error: " in done.stdout, done.stdout)
        check('test "never"' in done.stdout and "4 files checked" in done.stdout, done.stdout)
        findings = json.loads(w.tuma("check", "--json").stdout)
        equal({(f["file"].split("/")[-1], f["severity"]) for f in findings} >= {("syntax.lua", "error"), ("fails.lua", "error")}, True, findings)
        check("CALLID" in json.dumps(findings), "an unknown tag is not told")
        equal(w.tuma("check", "--no-tests", str(w.scripts / "fails.lua")).returncode, 0)
        refuses(w.tuma("check", str(w.path / "nowhere")), 2, "nowhere")


def test_tests_are_told_as_text_tap_and_json():
    with Workspace() as w:
        w.hook("sums", """local hook = { on = { "call.completed" }, request = { url = "https://x.example/[SUM]" } }
function hook.tags(event) return { SUM = event.A + event.B } end
hook.tests = {
  { name = "adds", event = { A = 1, B = 2 }, expect = { url = "https://x.example/3" } },
  { name = "is wrong", event = { A = 1, B = 2 }, expect = { url = "https://x.example/4" } },
}
return hook""")
        done = w.tuma("test")
        equal(done.returncode, 1, done.stdout + done.stderr)
        check("is wrong" in done.stdout and "x.example/4" in done.stdout, done.stdout)
        tap = w.tuma("test", "--tap").stdout
        check("ok 1 - " in tap and "not ok 2 - " in tap and "1..2" in tap, tap)
        rows = [json.loads(line) for line in w.tuma("test", "--json", str(w.scripts / "sums.lua")).stdout.splitlines()]
        equal([r["ok"] for r in rows], [True, False], rows)
        refuses(w.tuma("test", str(w.path / "nowhere")), 2)


def test_render_shows_the_request_as_text_and_json():
    with Workspace() as w:
        w.hook("crm", HOOK % ("https://x.example", "crm"))
        file = w.path / "event.json"
        file.write_text(json.dumps(event(7)))
        text = w.tuma("render", "crm", "--event", str(file)).stdout
        check("POST https://x.example/crm?q=c7" in text and '{"id":"c7"}' in text and "[SECRET:TOKEN]" in text, text)
        shown = json.loads(w.tuma("render", str(w.scripts / "crm.lua"), "--json", "--event", "-", stdin=json.dumps(event(8))).stdout)
        equal((shown["method"], shown["url"], shown["body"]), ("POST", "https://x.example/crm?q=c8", '{"id":"c8"}'))
        other = json.dumps({"type": "call.completed", "tags": {}})
        lacking = json.loads(w.tuma("render", "crm", "--json", "--event", "-", stdin=other).stdout)
        equal(lacking["unresolved"], ["CALL_ID"])
        refuses(w.tuma("render", "crm", "--event", "-", stdin="{"), 2)
        refuses(w.tuma("render", "none", "--event", str(file)), 1, "none.lua")
        w.hook("raises", """local hook = { on = { "call.completed" }, request = { url = "https://x.example/" } }
function hook.tags() error("no tags today") end
return hook""")
        done = w.tuma("render", "raises", "--event", str(file))
        equal(done.returncode, 1)
        check("no tags today" in done.stdout + done.stderr, done.stdout + done.stderr)


def test_check_finds_names_in_functions_that_mean_nothing():
    wrong = """local hook = { on = "call.completed", request = { url = "https://x.example/" } }
function hook.tags(event)
  local digits = fone.digits(event.CALER_ID)
  store.icnr("x")
  return { X = event:nubmer("DURATION"), Y = event:number "DURATON" or math.flor(digits) }
end
function hook.transform(event, request)
  reqest.body:set("x", 1)
  request.heders["x"] = require("lib.none")(require "fone")
end
return hook
"""
    right = """#!/usr/bin/env fone
--[==[ fone.x() ]] ]==] -- fone.x()
local hook = { on = { "call.*" }, request = { url = "https://x.example/[MINE]" } }
local M = {}
function M:walk(n) return self.x + n end
local t = { event = 1, ["x"] = 1 == nil, print; tostring, "fone.x", 'fone\\'.x', [[fone.x]] }
for k, v in pairs(t) do local _ = k .. tostring(v) .. 1e5 .. 0x1F .. ("x"):rep(3):upper() end
goto done
::done::
function hook.tags(event)
  local response, x = { foo = 1 }, event.MINE or event["OTHER"] or event:tags().ANY
  return { MINE = response.foo, n = store.get("k"), s = string.format("%d", math.pi), z = json.null, w = M.walk, x = x }
end
hook.transform = function(e, ...) local r = select(1, ...) r.headers.A = e.ANYTHING return r end
return hook
"""
    with Workspace() as w:
        w.hook("wrong", wrong)
        out = w.tuma("check", "--json")
        equal(out.returncode, 0, "warnings are no errors")
        equal([f"{f['line']}:{f['column']} {f['text']}" for f in json.loads(out.stdout)], [
            "3:18 there is no global fone; did you mean phone?",
            "3:36 no tag CALER_ID is known; did you mean CALLER_ID?",
            "4:9 store has no icnr; did you mean incr?",
            "5:22 event has no nubmer; did you mean number?",
            "5:60 no tag DURATON is known; did you mean DURATION?",
            "5:77 math has no flor; did you mean floor?",
            "8:3 there is no global reqest; did you mean request?",
            "9:11 request has no heders; did you mean headers?",
            "9:34 there is no lib/none.lua",
            "9:54 there is no module fone; did you mean phone?",
        ])
        w.hook("wrong", right)
        equal(w.tuma("check").stdout, "1 file checked: 0 errors, 0 warnings\n")
        w.hook("wrong", right.replace("hook.transform = function", "function hook.transfrom").replace("return r end", "return r end", 1))
        check("wrong.lua:14:1: error: hook.transfrom is a function, and there is no such stage; did you mean transform?" in (out := w.tuma("check").stdout), out)


def test_test_runs_both_kinds_of_tests_and_says_what_is_wrong_with_one():
    with Workspace() as w:
        w.hook("crm", """local hook = { on = { "call.completed" }, request = { url = "https://x.example/[CALL_ID]", body = [=[{"id": "[CALL_ID]", "n": [1, 2]}]=] } }
hook.tests = {
  { name = "inside", event = { type = "call.completed", CALL_ID = "c1" }, expect = { body = { id = "c1" } } },
}
return hook""")
        (w.scripts / "crm_test.lua").write_text("""return {
  { name = "beside", event = { type = "call.completed", CALL_ID = "c1" },
    expect = { url = "https://x.example/c2", headers = { B = "b", A = "a" }, body = { id = 1, n = { 1, 3 } } } },
  { name = "no event", expect = "filtered" },
  { name = "misspelt", event = { type = "call.completed" }, secret = {}, expect = "sent" },
}""")
        for what in ("crm", str(w.scripts), str(w.scripts / "crm_test.lua")):
            done = w.tuma("test", what)
            equal(done.returncode, 1, what)
            equal(done.stdout, """ok   crm: inside
FAIL crm: beside
     url
       - expected "https://x.example/c2"
       + got      "https://x.example/c1"
     headers.A
       - expected "a"
       + got      nothing
     headers.B
       - expected "b"
       + got      nothing
     body.id
       - expected 1
       + got      "c1"
     body.n[2]
       - expected 3
       + got      2
FAIL crm: no event
     a test has an event: event = { type = "call.completed", CALL_ID = "c1" }
FAIL crm: misspelt
     a test has no "secret"
1 passed, 3 failed
""")
        tap = w.tuma("test", "crm", "--tap").stdout
        check(tap.startswith("ok 1 - crm: inside\nnot ok 2 - crm: beside\n# url\n#   - expected ") and tap.endswith("\n1..4\n"), tap)
        (w.scripts / "crm_test.lua").unlink()
        w.hook("crm", (w.scripts / "crm.lua").read_text().replace('id = "c1" } }', 'id = "c2" } }'))
        check(w.tuma("check").stdout.startswith(f'{w.scripts}/crm.lua:3:1: error: test "inside": body.id\n'), "a failed test has its line")


WATCHED = """local n = require "lib.n"
local hook = { on = { "call.completed" }, request = { url = "https://x.example/%s" .. n } }
hook.tests = { { name = "the url", event = { CALL_ID = "c1" }, expect = { url = "https://x.example/one1" } } }
return hook"""


def test_test_watches_through_every_way_of_saving():
    for name in ("", "crm"):  # the directory, and one webhook of it
        with Workspace() as w:
            first, second = w.path / "first", w.path / "second"
            (first / "lib").mkdir(parents=True)
            (first / "lib/n.lua").write_text("return 1")
            (first / "crm.lua").write_text(WATCHED % "one")
            shutil.copytree(first, second)
            w.scripts.rmdir()
            w.scripts.symlink_to(first)
            watching = w.start(["test", *filter(None, [name]), "--watch", *w.settings()], r"1 passed", "watch")
            seen = 0

            def again(passed, how):
                nonlocal seen
                until(lambda: re.findall(r"(\d) passed", watching.text()[seen:])[-1:] == [str(passed)], what=f"a run after {how}")
                seen = len(watching.text())

            again(1, "the start")
            w.hook("crm", WATCHED % "two")
            again(0, "a rename")
            (w.scripts / "crm.lua").write_text(WATCHED % "one")
            again(1, "truncate and write")
            (w.scripts / "lib/n.lua").write_text("return 2")
            again(0, "a shared file")
            (w.path / "other").symlink_to(second)
            (w.path / "other").rename(w.scripts)
            again(1, "a link that leads elsewhere")
            w.hook("crm", WATCHED % "two")
            again(0, "a rename where it leads")


def test_diff_shows_what_an_edit_would_change():
    with Workspace() as w:
        sink = w.sink()
        w.hook("crm", HOOK % (sink.url, "crm"))
        w.tuma("secret", "set", "TOKEN", stdin="sesame")
        engine = w.engine()
        for n in range(3):
            engine.post(event(n))
        sink.wait(3)
        edited = w.path / "crm.lua"
        edited.write_text(HOOK % (sink.url, "crm"))
        same = w.tuma("diff", str(edited), "--allow-private")
        equal(same.returncode, 0, same.stdout + same.stderr)
        edited.write_text((HOOK % (sink.url, "new")).replace('"id"', '"call"'))
        done = w.tuma("diff", str(edited), "--last", "2", "--allow-private")
        equal(done.returncode, 1, done.stdout + done.stderr)
        check(f"- POST {sink.url}/crm?q=c2" in done.stdout and f"+ POST {sink.url}/new?q=c2" in done.stdout, done.stdout)
        check("c0" not in done.stdout and "sesame" not in done.stdout, "more than asked, or a secret")
        edited.write_text("""return { on = { "call.completed" }, when = { CALL_ID = "c1" }, request = { url = "%s/crm" } }""" % sink.url)
        narrowed = w.tuma("diff", str(edited), "--allow-private")
        equal(narrowed.returncode, 1)
        check("+ " in narrowed.stdout, narrowed.stdout)
        fresh = w.path / "brand-new.lua"
        fresh.write_text(HOOK % (sink.url, "fresh"))
        equal(w.tuma("diff", str(fresh), "--allow-private").returncode, 1, "a new webhook changes everything")
        edited.write_text("return {")
        check("crm.lua:1" in w.tuma("diff", str(edited)).stderr, "the mistake is not told")


COUNTS = """local hook = { on = { "call.completed" }, request = { url = "%s/crm", body = [=[{"n": [N], "%s": "[CALL_ID]", "%s": [1, {"deep": true}]}]=] } }
function hook.tags(event) return { N = store.incr("calls") } end
hook.tests = { { name = "as it is", event = { type = "call.completed", CALL_ID = "c" }, expect = { body = { id = "c" } } } }
return hook"""


def test_diff_gives_each_side_a_store_and_shows_members_in_the_order_of_events():
    with Workspace() as w:
        url = "https://crm.example"
        w.hook("crm", COUNTS % (url, "id", "list"))
        engine = w.engine("--deny", "0.0.0.0/0")
        for n in range(3):
            engine.post(event(n))
        edited = w.path / "crm.lua"
        edited.write_text(COUNTS % (url, "id", "list"))
        same = w.tuma("diff", str(edited))
        equal((same.returncode, same.stdout), (0, "3 events: 3 the same, 0 changed, 0 with an error\n"), "own stores")
        edited.write_text(COUNTS % (url, "call", "list"))
        done = w.tuma("diff", str(edited), "--last", "2")
        equal(done.stdout, """e1 call.completed
    …
    {
      "n": 1,
  -   "id": "c1",
  +   "call": "c1",
      "list": [
        1,
    …
e2 call.completed
    …
    {
      "n": 2,
  -   "id": "c2",
  +   "call": "c2",
      "list": [
        1,
    …
2 events: 0 the same, 2 changed, 0 with an error
""")
        rows = [json.loads(line) for line in w.tuma("diff", str(edited), "--json").stdout.splitlines()]
        equal([(row["event"], row["changed"], json.loads(row["after"]["body"])["n"]) for row in rows], [("e0", True, 1), ("e1", True, 2), ("e2", True, 3)])
        edited.write_text(COUNTS.replace("incr", "inkr") % (url, "id", "list"))
        check("+ error: " in (out := w.tuma("diff", str(edited)).stdout) and "3 changed, 3 with an error" in out, out)


def test_diff_in_place_compares_with_the_version_that_runs():
    with Workspace() as w:
        w.hook("crm", COUNTS % ("https://crm.example", "id", "list"))
        out = w.tuma("run", "-", stdin="")
        equal(out.returncode, 0, out.stderr)
        asked = w.tuma("diff", "crm")
        equal((asked.returncode, "no engine runs" in asked.stderr), (2, True), asked.stderr)
        engine = w.engine("--deny", "0.0.0.0/0")
        engine.post(event(1))
        asked = w.tuma("diff", "crm")
        equal((asked.returncode, "is the version that runs" in asked.stderr), (2, True), asked.stderr)
        version = engine.log()[0]["version"]
        w.hook("crm", COUNTS % ("https://crm.example", "call", "list"))  # its own test refuses it
        until(lambda: "the version before it goes on" in engine.process.text(), what="refused")
        for more in ([], ["--with", version]):
            done = w.tuma("diff", "crm", *more)
            check('-   "id": "c1",\n  +   "call": "c1",' in done.stdout, done.stdout + done.stderr)
        for wrong in ("nope.lua", "0" * 16):
            done = w.tuma("diff", "crm", "--with", wrong)
            equal((done.returncode, done.stdout, len(done.stderr.splitlines())), (2, "", 1), wrong)


def test_log_show_redeliver_and_drop_choose_by_flags_and_ids():
    with Workspace() as w:
        sink = w.sink("--status", "500")
        w.hook("crm", (HOOK % (sink.url, "crm")).replace("retry = { 60 }", "retry = { 0.1 }").replace("Bearer [SECRET:TOKEN]", "x"))
        engine = w.engine()
        for n in range(3):
            engine.post(event(n, org="acme" if n else "umbrella"))
        until(lambda: engine.states() == {"exhausted": 3}, what="all exhausted")
        rows = engine.log("--org", "acme", "--state", "exhausted", "--since", "1h", "--webhook", "crm", "--type", "call.completed")
        equal(sorted(r["event"] for r in rows), ["e1", "e2"])
        equal([r["event"] for r in engine.log("--event", "e0")], ["e0"])
        equal(engine.log("--until", "1h"), [])
        equal(len(engine.log("--search", "500")), 3)
        table = w.tuma("log").stdout
        check("exhausted" in table and "e2" in table and "500" in table, table)
        first = str(engine.log("--event", "e0")[0]["id"])
        text, shown = w.tuma("show", first).stdout, json.loads(w.tuma("show", first, "--json").stdout)
        check("attempt 1 at" in text and "status 500" in text, text)
        equal((shown["state"], shown["event"], [a["status"] for a in shown["attempts"]]), ("exhausted", "e0", [500, 500]))
        refuses(w.tuma("show", "999"), 1, "no delivery")
        refuses(w.tuma("show", "x"), 2, "no delivery id")
        refuses(w.tuma("redeliver"), 2, "--all")
        refuses(w.tuma("redeliver", "x"), 2, "no delivery id")
        equal(w.tuma("redeliver", first).returncode, 0)
        sink.wait(8)
        equal(w.tuma("redeliver", "--org", "acme").returncode, 0)
        sink.wait(12)
        until(lambda: engine.states() == {"exhausted": 3}, what="exhausted again")
        equal(w.tuma("drop", "--event", "e1", "--state", "exhausted").returncode, 0)
        until(lambda: engine.states() == {"exhausted": 2, "dropped": 1}, what="dropped")
        engine.process.stop()
        refuses(w.tuma("drop", "--all"), 5)


def test_the_sink_answers_as_its_flags_say():
    with Workspace() as w:
        sink = w.sink("--fail-first", "1", "--latency", "1")
        import http.client

        def get(path):
            connection = http.client.HTTPConnection("127.0.0.1", sink.port, timeout=10)
            connection.request("POST", path, "body")
            return connection.getresponse().status
        equal([get("/"), get("/"), get("/status/418/x"), get("/latency/1/status/204")], [503, 200, 418, 204])
        equal([r["body"] for r in sink.wait(4)], ["body"] * 4)
        refuses(plain("sink", "--port", str(sink.port)), 2, "in use")
        refuses(plain("sink", "--host", "nowhere"), 2, "no IP address")


def test_the_courier_is_measured_only_while_every_request_is_answered_well():
    with Workspace() as w:
        sink = w.sink()
        out = plain("bench", "courier", "--json", "--url", sink.url + "/x")
        equal(out.returncode, 0, out.stderr)
        check(0 < json.loads(out.stdout)["courier"]["requests_a_second"] <= len(sink.requests()), out.stdout)
        refuses(plain("bench", "courier", "--url", sink.url + "/status/500"), 1, "HTTP 500")
        refuses(plain("bench", "courier", "--url", "http://127.0.0.1:1/"), 1, "port 1 is not allowed")


if __name__ == "__main__":
    main(globals())
