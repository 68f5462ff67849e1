"""Who suffers when somebody misbehaves: what must hold in any run of the rigs, on
any machine. The figures come from the long runs (tests/faults/isolation.py)."""
import pathlib
import subprocess
import sys
import tempfile

from harness import ROOT, check, main

sys.path.insert(0, str(ROOT / "tests/faults"))
import isolation  # noqa: E402

SEED = 20261124


def holds(name, **more):
    options = isolation.arguments(**{"seconds": 1, "rounds": 1, "rate": 60, "seed": SEED, "dead": 100, "burst": 3000, **more}).parse_args([])
    result = isolation.EXPERIMENTS[name](options)
    check(isolation.harmed(result) if options.defect else result["ok"], f"{name}: {result}")


def test_five_of_ten_hang_and_every_healthy_one_is_delivered_meanwhile():
    holds("R31")


def test_an_engine_with_one_slot_shows_the_harm():
    holds("R31", defect=True, patience=3)


def test_a_hundred_dead_endpoints_are_left_alone():
    holds("R33")


def test_silent_names_hold_back_no_name_that_answers():
    holds("R34")


def test_a_burst_of_one_organization_arrives_and_so_do_the_others():
    holds("R35")


def test_a_full_backlog_refuses_cleanly_and_keeps_what_it_took():
    holds("R37")


def test_a_stop_doubles_nothing():
    holds("R40")


def test_a_runaway_script_loses_nothing_and_holds_nobody_up():
    holds("R50", kinds=["loop"])


def test_a_script_that_takes_all_its_memory_is_quarantined_and_one_that_errs_is_not():
    holds("R50", kinds=["memory", "error"])


def soak(*more):
    with tempfile.TemporaryDirectory() as directory:
        command = [sys.executable, str(ROOT / "tests/crash/soak.py"), "--minutes", "0.05", "--every", "0.5", "--seed", str(SEED), "--out", str(pathlib.Path(directory) / "soak")]
        return subprocess.run([*command, *more], capture_output=True, text=True)


def test_the_books_balance_under_mixed_faults():
    done = soak()
    check(done.returncode == 0, done.stdout + done.stderr)
    planted = soak("--defect", "count")
    check("broke the law" in planted.stdout, planted.stdout + planted.stderr)


if __name__ == "__main__":
    main(globals())
