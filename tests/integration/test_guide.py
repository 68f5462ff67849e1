"""The guide (scripts/README.md): every snippet is put into its file and run,
every console block must print what it shows. The examples pass their tests."""
import re
import subprocess

from harness import ROOT, TUMA, Workspace, check, equal, main

BLOCK = re.compile(r"^```(lua|json|console)(?: (\S+))?\n(.*?)^```", re.M | re.S)


def blocks():
    return BLOCK.findall((ROOT / "scripts/README.md").read_text())


def save(workspace, name, text):
    path = workspace.scripts / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)


def test_every_console_block_prints_what_the_guide_shows():
    with Workspace() as w:
        seen = 0
        for kind, name, text in blocks():
            if kind != "console":
                save(w, name, text)
                continue
            command, shown = text.split("\n", 1)
            arguments = command.removeprefix("$ tuma ").split()
            done = subprocess.run([TUMA, *arguments], cwd=w.scripts, capture_output=True, text=True, timeout=60)
            equal(done.stdout, shown, command)
            seen += 1
        check(seen >= 4, "the guide lost its console blocks")


def test_every_snippet_checks_without_error():
    with Workspace() as w:
        names = []
        for kind, name, text in blocks():
            if kind == "lua":
                save(w, name, text)
                names += [name] if "/" not in name else []
        check(len(names) >= 4 and all(names), "snippets have names")
        done = subprocess.run([TUMA, "check", *names], cwd=w.scripts, capture_output=True, text=True, timeout=60)
        equal(done.returncode, 0, done.stdout + done.stderr)


def test_every_example_checks_clean_and_its_tests_pass():
    done = subprocess.run([TUMA, "check", str(ROOT / "scripts")], capture_output=True, text=True, timeout=120)
    equal(done.returncode, 0, done.stdout + done.stderr)
    done = subprocess.run([TUMA, "test", str(ROOT / "scripts"), "--tap"], capture_output=True, text=True, timeout=120)
    equal(done.returncode, 0, done.stdout + done.stderr)


def test_every_example_is_short_has_tests_and_says_its_idea():
    files = sorted((ROOT / "scripts").glob("*.lua"))
    check(len(files) >= 15, "at least fifteen examples")
    guide = (ROOT / "scripts/README.md").read_text()
    for path in files:
        text = path.read_text()
        check(text.startswith("-- "), f"{path.name}: the first line says the idea")
        check(len(text.splitlines()) <= 40, f"{path.name}: at most 40 lines")
        check("tests" in text, f"{path.name}: has tests")
        check(f"`{path.name}`" in guide, f"{path.name}: stands in the guide")


if __name__ == "__main__":
    main(globals())
