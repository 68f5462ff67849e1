"""tuma events and tuma tags: the guide's lists, and what an operator adds."""
import json
import pathlib
import subprocess
import tempfile

from harness import TUMA, check, main


def tuma(*arguments, config=None):
    with tempfile.TemporaryDirectory() as directory:
        if config:
            pathlib.Path(directory, "tuma.conf.lua").write_text(config)
        return subprocess.run([TUMA, *arguments], cwd=directory, capture_output=True, text=True, timeout=20)


def documents(*arguments, **more):
    done = tuma(*arguments, "--json", **more)
    check(done.returncode == 0, done.stderr)
    return json.loads(done.stdout)


def test_all_events_of_the_guide_are_listed():
    names = [event["name"] for event in documents("events")["events"]]
    calls = ["incoming", "connected", "hangup", "failure", "completed", "converted"]
    marks = ["on_%d_secs_mark" % seconds for seconds in (5, 15, 30, 45, 60)]
    check([name for name in names if name.startswith("call.")] == ["call." + name for name in calls + marks], names)


def test_a_pattern_narrows_the_list():
    names = [event["name"] for event in documents("events", "webhook.*")["events"]]
    check(names == ["webhook.disabled", "webhook.exhausted"], names)


def test_tags_say_which_events_carry_them():
    tags = {tag["name"]: tag for tag in documents("tags")["tags"]}
    check(tags["CONVERTED"]["on"] == ["call.completed", "call.converted"], tags["CONVERTED"])
    check(tags["CALLER_ID_NUMERIC"]["derived"] and not tags["CALL_ID"]["derived"], "derived")
    incoming = {tag["name"] for tag in documents("tags", "call.incoming")["tags"]}
    check("CALL_ID" in incoming and "EVENT" in incoming and "DURATION" not in incoming, incoming)


def test_text_has_a_line_each():
    done = tuma("tags")
    lines = done.stdout.splitlines()
    check(done.returncode == 0 and all(line.count("\t") == 3 for line in lines), done.stdout)
    check(len(lines) == len(documents("tags")["tags"]), "as many lines as tags")


def test_an_operator_adds_to_both_lists():
    config = """return {
      events = { { name = "call.rated", description = "the caller gave stars", when = "later" } },
      tags = { { name = "STARS", on = { "call.rated" }, type = "number", description = "one to five" } } }"""
    check("call.rated" in [e["name"] for e in documents("events", config=config)["events"]], "event")
    tags = [t["name"] for t in documents("tags", "call.rated", config=config)["tags"]]
    check("STARS" in tags and "CONVERTED" not in tags, tags)


def test_mistakes_are_named():
    done = tuma("tags", "call.complete")
    check(done.returncode == 1 and 'did you mean "call.completed"' in done.stderr, done.stderr)
    done = tuma("events", config="return { events = { { name = 'Call' } } }")
    check(done.returncode == 3 and "events[1]" in done.stderr, done.stderr)


if __name__ == "__main__":
    main(globals())
