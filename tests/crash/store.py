#!/usr/bin/env python3
"""The store's crash rig: kills, power cuts, torn writes, failing disks.

    tests/crash/store.py [--short|--long] [--only kill,everywhere,torn,power,faults,flips,full,readonly]
                         [--seed N] [--count N] [--build DIR] [--tap]

Each experiment compares what the writer said it had committed with what a
restarted engine finds: nothing acknowledged may be missing, a commit is there
whole or not at all, every byte is as written, and SQLite's integrity_check is
ok. A rig counts only if its planted defect shows: every experiment has a control
(an early acknowledgement, synchronous=NORMAL, a flipped byte) that must fail.
Everything random comes from the seed, which is printed.
"""
import argparse
import collections
import fcntl
import json
import os
import pathlib
import random
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
CORE = "store*.c crc.c fail.c clock.c arena.c id.c map.c buf.c log.c json*.c tag.c escape*.c event*.c"
CALLS = 800    # on store files in a life of 12 batches
LIVES_MAX = 5  # lives of one store before a fresh one is taken

Outcome = collections.namedtuple("Outcome", "runs bad notes")


def build(where):
    """Compiles the workload and the preloaded library, when they are older than their sources."""
    where.mkdir(parents=True, exist_ok=True)
    cc = os.environ.get("CC", "cc").split()
    sources = [p for pattern in CORE.split() for p in sorted((ROOT / "core").glob(pattern))]
    headers = list((ROOT / "core").glob("*.h"))
    made = []
    for name, inputs, flags, libraries in (
            ("store_writer", [ROOT / "tests/crash/store_writer.c", *sources], ["-pthread"], ["-lsqlite3", "-lm"]),
            ("crashfs.so", [ROOT / "tests/crash/crashfs.c"], ["-shared", "-fPIC"], ["-ldl"])):
        target = where / name
        if not target.exists() or any(p.stat().st_mtime > target.stat().st_mtime for p in [*inputs, *headers]):
            subprocess.run([*cc, "-std=c11", "-O1", "-g", "-D_GNU_SOURCE", f"-I{ROOT / 'core'}", *flags, "-o",
                            str(target), *map(str, inputs), *libraries], check=True)
        made.append(str(target))
    return made


class Writer:
    """One life of the workload, and what it said."""

    def __init__(self, rig, directory, run, seed, batches, options=(), env=None):
        self.run = run
        self.process = subprocess.Popen([rig.writer, "run", str(directory), str(run), str(seed), str(batches), *options],
                                        stdout=subprocess.PIPE, env=dict(os.environ, **(env or {})))
        self.first = b""

    def wait_for_first(self):
        self.first = self.process.stdout.readline()

    def finish(self):
        text = self.first + self.process.stdout.read()
        self.process.stdout.close()
        self.status = self.process.wait()
        return Said(text)


class Said:
    """The writer's lines: the last acknowledged and the last announced state."""

    def __init__(self, text):
        self.acked = self.announced = (0, 0)
        self.failures = []
        self.acked_after_fatal = False
        fatal = False
        for line in text.decode().splitlines():
            words = line.split()
            if words[0] == "F":
                self.failures.append(words[1])
                fatal = fatal or words[1] not in ("storage_full", "no_memory", "store_busy")
            elif len(words) == 3 and line[-1:].isdigit():
                state = (int(words[1]), int(words[2]))
                if words[0] == "A":
                    self.acked, self.acked_after_fatal = state, self.acked_after_fatal or fatal
                self.announced = state


class Rig:
    def __init__(self, options):
        self.seed = options.seed
        self.random = random.Random(options.seed)
        self.acked = self.lost = 0  # events, over the lives of one experiment
        self.writer, self.shim = build(pathlib.Path(options.build).resolve() / "crash")
        # A killed process leaves its file system whole, so memory serves; a power cut is made on an image.
        memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self.work = pathlib.Path(tempfile.mkdtemp(prefix="tuma-crash-", dir=memory))

    def check(self, directories, options=()):
        done = subprocess.run([self.writer, "check", *options, *map(str, directories)], capture_output=True, text=True,
                              errors="replace")
        lines = done.stdout.splitlines()
        lines += ["{}"] * (len(directories) - len(lines))  # it died on one
        return [json.loads(line) if line.startswith("{") and line.endswith("}") else {} for line in lines]

    def judge(self, found, said, run):
        """None, or what is wrong with the store after this life."""
        self.acked += said.acked[0]
        if not found.get("opened"):
            return f"does not open: {found.get('type', 'the check died')}"
        if found["wrong"]:
            return found["wrong"]
        state = tuple(found["runs"].get(str(run), (0, 0)))
        if state in (said.acked, said.announced):
            return None
        lost = said.acked[0] - state[0]
        self.lost += max(0, lost)
        return f"{lost} events lost" if lost > 0 else f"holds {state}, acknowledged {said.acked}, announced {said.announced}"

    def lives(self, count, one, directory_of):
        """Runs `one(directory, run, seed)` over and over; old runs must stay as they were."""
        bad, notes, past = 0, [], {}
        for life in range(count):
            run = life % LIVES_MAX
            if run == 0:
                past = {}
                directory = directory_of(life)
            seed = self.random.getrandbits(31)
            found, said = one(directory, run, seed)
            wrong = self.judge(found, said, run)
            for old, state in past.items():
                if not wrong and found["runs"].get(old, [0, 0]) != state:
                    wrong = f"run {old} changed from {state} to {found['runs'].get(old)}"
            if wrong:
                bad += 1
                notes.append(f"life {life} (seed {seed}): {wrong}")
                directory, past = directory_of(life), {}
            else:
                past = found["runs"]
        return Outcome(count, bad, notes)

    def fresh(self, name):
        path = self.work / str(name)
        shutil.rmtree(path, ignore_errors=True)
        return path


# --- kill -9 ---

def kill(rig, count, options=()):
    """Half of the kills at a random time, half at a random call on a store file."""
    def one(directory, run, seed):
        by_time = rig.random.random() < 0.5
        env = {} if by_time else {"LD_PRELOAD": rig.shim, "CRASHFS_KILL": str(rig.random.randrange(1, 1500))}
        writer = Writer(rig, directory, run, seed, 100000 if by_time else 100, options, env)
        if by_time:
            writer.wait_for_first()
            time.sleep(rig.random.uniform(0, 0.03))
            writer.process.kill()
        said = writer.finish()
        return rig.check([directory])[0], said
    return rig.lives(count, one, rig.fresh)


def kill_everywhere(rig, count, options=()):
    """A fresh store, killed at call after call of its short life, creation included."""
    bad, notes = 0, []
    for at in range(1, CALLS + 1, max(1, CALLS // count)):
        directory = rig.fresh("everywhere")
        said = Writer(rig, directory, 0, 1, 12, options, {"LD_PRELOAD": rig.shim, "CRASHFS_KILL": str(at)}).finish()
        wrong = rig.judge(rig.check([directory])[0], said, 0)
        if wrong:
            bad += 1
            notes.append(f"call {at}: {wrong}")
    return Outcome(len(range(1, CALLS + 1, max(1, CALLS // count))), bad, notes)


# --- torn and reordered writes ---

class File:
    def __init__(self):
        self.durable, self.pending = b"", []


class Disk:
    """Replays a recorded life; at any point it can be cut off."""

    def __init__(self, log):
        self.operations, at = [], 0
        while at < len(log):
            kind, inode, offset, length = struct.unpack_from("<cQQI", log, at)
            at += 21
            self.operations.append((kind, inode, offset, log[at:at + length]))
            at += length
        self.files, self.names, self.changes, self.said = {}, {}, [], b""

    def step(self, operation):
        kind, inode, offset, data = operation
        if kind == b"c":
            self.files[inode] = File()
            self.changes.append((data.decode(), self.files[inode]))
        elif kind == b"u":
            self.changes.append((data.decode(), None))
        elif kind == b"n":
            old, new = data.decode().split("/")
            names = dict(self.names)
            names.update(self.changes)
            self.changes += [(new, names[old]), (old, None)]
        elif kind == b"d":
            self.names.update(self.changes)
            self.changes = []
        elif kind == b"a":
            self.said += data
        elif kind == b"s":
            file = self.files[inode]
            file.durable, file.pending = apply(file.durable, file.pending), []
        else:
            self.files[inode].pending.append((kind, offset, data))

    def cut(self, mode, rand):
        """The bytes of every file as a power cut may leave them."""
        if mode == "drop":
            kept = 0
        elif mode == "tail":
            kept = len(self.changes)
        else:
            kept = rand.randint(0, len(self.changes))
        names = dict(self.names)
        names.update(self.changes[:kept])
        return {name: apply(file.durable, choose(file.pending, mode, rand)) for name, file in names.items() if file}


def apply(durable, operations):
    if not operations:
        return durable
    data = bytearray(durable)
    for kind, offset, payload in operations:
        if kind == b"t":
            data = data[:offset] + bytes(max(0, offset - len(data)))
        else:
            data += bytes(max(0, offset - len(data)))
            data[offset:offset + len(payload)] = payload
    return bytes(data)


def choose(pending, mode, rand):
    """Which of the operations that were not synced reached the disk, and how whole.

    A sector is written whole, not at all, or (when all of it was to be written) as garbage. The log's
    header is 32 bytes in one sector; were it ever torn, the store would refuse rather than guess."""
    if mode == "drop":
        return []
    if mode == "random":
        return [op for op in pending if rand.random() < 0.5]
    if mode == "tail":
        if not pending or pending[-1][0] != b"w":
            return pending
        kind, offset, data = pending[-1]
        end = (offset + rand.randint(0, len(data))) // 512 * 512  # a sector is written or not
        return pending[:-1] + [(kind, offset, data[:max(0, end - offset)])]
    out = []
    for kind, offset, data in pending:
        if kind != b"w":
            out += [(kind, offset, data)] if rand.random() < 0.5 else []
            continue
        at = 0
        while at < len(data):
            end = min(len(data), (offset + at) // 512 * 512 + 512 - offset)
            luck = rand.random()
            if luck < 0.5:
                out.append((kind, offset + at, data[at:end]))
            elif luck < 0.6 and end - at == 512:
                out.append((kind, offset + at, rand.randbytes(end - at)))
            at = end
    return out


def torn(rig, count, options=()):
    """Crash states of recorded lives: unsynced writes dropped, reordered, torn by sectors, cut at the end."""
    bad, notes, made = 0, [], 0
    modes = ("drop", "random", "sectors", "tail")
    lives = max(1, count // 1000)
    for life in range(lives):
        seed = rig.random.getrandbits(31)
        directory, log = rig.fresh("recorded"), rig.work / "log"
        Writer(rig, directory, 0, seed, 60, options, {"LD_PRELOAD": rig.shim, "CRASHFS_LOG": str(log)}).finish()
        disk = Disk(log.read_bytes())
        want = (count - made) // (lives - life)
        points = collections.Counter(rig.random.choices(range(len(disk.operations)), k=want))
        batch = []
        for at, operation in enumerate(disk.operations):
            disk.step(operation)
            for again in range(points[at]):
                mode = modes[made % 4]
                rand = random.Random(f"{seed}/{at}/{again}")
                batch.append((f"seed {seed}, operation {at}/{again}, {mode}", disk.cut(mode, rand), Said(disk.said)))
                made += 1
            if len(batch) >= 100 or (batch and at + 1 == len(disk.operations)):
                wrong = judge_states(rig, batch)
                bad, batch = bad + len(wrong), []
                notes += wrong
    return Outcome(made, bad, notes)


def judge_states(rig, batch):
    root = rig.fresh("states")
    directories = []
    for i, (_, files, _) in enumerate(batch):
        directory = root / str(i)
        directory.mkdir(parents=True)
        for name, data in files.items():
            (directory / name).write_bytes(data)
        directories.append(directory)
    found = rig.check(directories)
    wrong = [(label, rig.judge(state, said, 0)) for (label, _, said), state in zip(batch, found)]
    return [f"{label}: {what}" for label, what in wrong if what]


# --- power cuts ---

class Loop:
    """A small ext4 on a loop device."""
    SHUTDOWN, NO_LOG_FLUSH = 0x8004587D, struct.pack("I", 2)

    def __init__(self, rig, megabytes):
        self.image, self.mount = rig.work / "image", rig.work / "mnt"
        self.mount.mkdir(exist_ok=True)
        with open(self.image, "wb") as image:
            image.truncate(megabytes << 20)
        self.command("mkfs.ext4", "-q", "-F", "-m", "0", self.image)
        self.up()

    @staticmethod
    def command(*words):
        subprocess.run([str(w) for w in words], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    def up(self):
        self.command("mount", "-o", "loop", self.image, self.mount)

    def down(self):
        for _ in range(50):
            if subprocess.run(["umount", str(self.mount)], stderr=subprocess.DEVNULL).returncode == 0:
                return
            time.sleep(0.02)
        self.command("umount", "-l", self.mount)

    def cut(self):
        fd = os.open(self.mount, os.O_RDONLY)
        fcntl.ioctl(fd, self.SHUTDOWN, self.NO_LOG_FLUSH)
        os.close(fd)


def can_mount(rig):
    try:
        loop = Loop(rig, 16)
        loop.cut()
        loop.down()
        return None
    except (OSError, subprocess.CalledProcessError) as error:
        return f"no loop-mounted ext4 here: {getattr(error, 'stderr', None) or error}".strip()


def stop_and_wait(process):
    process.send_signal(signal.SIGSTOP)
    while True:
        fields = pathlib.Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        if fields[0] in "TtZX":
            return
        time.sleep(0.0005)


def power(rig, count, options=()):
    """The writer is stopped first, then the file system is shut down under it without flushing."""
    loop = Loop(rig, 128)

    def one(directory, run, seed):
        log = options or rig.random.choice(((), ("--long-log",)))
        writer = Writer(rig, directory, run, seed, 100000, log)
        writer.wait_for_first()
        time.sleep(rig.random.uniform(0.01, 0.3))
        stop_and_wait(writer.process)
        loop.cut()
        writer.process.kill()
        said = writer.finish()
        loop.down()
        loop.up()
        return rig.check([directory])[0], said

    def directory_of(name):
        for old in loop.mount.glob("store*"):
            shutil.rmtree(old)
        os.sync()
        return loop.mount / f"store{name}"

    try:
        return rig.lives(count, one, directory_of)
    finally:
        loop.down()


# --- disks that say no ---

def faults(rig, count, options=()):
    """The N-th write, sync, truncate or read fails with EIO, once or for good, or ENOSPC for a while."""
    def one(directory, run, seed):
        if rig.random.random() < 0.3:
            kind, times, code = "w", rig.random.randrange(1, 40), 28
        else:
            kind, times, code = rig.random.choice("wwssstr"), rig.random.choice((1, 1000000)), 5
        at = rig.random.randrange(1, {"w": 900, "s": 160, "t": 6, "r": 300}[kind])
        env = {"LD_PRELOAD": rig.shim, "CRASHFS_FAIL": f"{kind}:{at}:{times}:{code}"}
        said = Writer(rig, directory, run, seed, 80, options, env).finish()
        found = rig.check([directory])[0]
        if said.acked_after_fatal:
            found["wrong"] = "acknowledged after a fatal error"
        return found, said
    return rig.lives(count, one, rig.fresh)


def full(rig, count):
    """A file system that is really full: refused cleanly, settled on the ballast, nothing lost."""
    bad, notes = 0, []
    loop = Loop(rig, 24)
    try:
        for life in range(count):
            seed = rig.random.getrandbits(31)
            directory = loop.mount / f"store{life}"
            writer = Writer(rig, directory, 0, seed, 100000, ("--ballast",))
            said = writer.finish()
            wrong = rig.judge(rig.check([directory])[0], said, 0)
            if set(said.failures) != {"storage_full"} or writer.status != 0 or said.acked[0] != said.acked[1]:
                wrong = wrong or f"failures {sorted(set(said.failures))}, status {writer.status}, {said.acked}"
            if wrong:
                bad += 1
                notes.append(f"life {life} (seed {seed}): {wrong}")
            shutil.rmtree(directory)
    finally:
        loop.down()
    return Outcome(count, bad, notes)


def readonly(rig, count, options=()):
    """A file system that is read-only: refused by name, and everything is there once it is writable."""
    bad, notes = 0, []
    loop = Loop(rig, 24)
    try:
        for life in range(count):
            directory = loop.mount / f"store{life}"
            said = Writer(rig, directory, 0, life, 20).finish()
            Loop.command("mount", "-o", "remount,ro", loop.mount)
            refused = Writer(rig, directory, 1, life, 20).finish()
            Loop.command("mount", "-o", "remount,rw", loop.mount)
            wrong = rig.judge(rig.check([directory])[0], said, 0)
            if refused.failures != ["store_read_only"] or refused.acked != (0, 0):
                wrong = wrong or f"refused with {refused.failures}"
            if wrong:
                bad += 1
                notes.append(f"life {life}: {wrong}")
    finally:
        loop.down()
    return Outcome(count, bad, notes)


# --- flipped bits ---

def flips(rig, count, options=()):
    """One bit of the database or its log changes while the engine is down: found, or harmless, never sent."""
    bad, notes = 0, []
    original = rig.fresh("original")
    seed = rig.random.getrandbits(31)
    writer = Writer(rig, original, 0, seed, 60, ("--long-log",), {"LD_PRELOAD": rig.shim, "CRASHFS_KILL": "900"})
    writer.finish()
    checkpointed = rig.fresh("checkpointed")
    shutil.copytree(original, checkpointed)
    rig.check([checkpointed])
    for flip in range(count):
        source, name = rig.random.choice(((original, "tuma.db-wal"), (checkpointed, "tuma.db"), (checkpointed, "tuma.db")))
        directory = rig.fresh("flipped")
        shutil.copytree(source, directory)
        data = bytearray((directory / name).read_bytes())
        at = rig.random.randrange(len(data) * 8)
        data[at // 8] ^= 1 << at % 8
        (directory / name).write_bytes(data)
        found = rig.check([directory], options)[0]
        if not found or found["altered"]:
            bad += 1
            notes.append(f"seed {seed}, bit {at} of {name}: {'altered' if found else 'the check died'}")
    return Outcome(count, bad, notes)


# --- all of it ---

EARLY = ("acknowledged before the commit", ("--ack-early",))
NORMAL = ("synchronous=NORMAL", ("--normal", "--long-log"))
TRUSTING = ("row checksums not looked at", ("--trusting",))
EXPERIMENTS = [
    # name, function, short, long, (control, options), its short, its long, needs a loop mount
    ("kill", kill, 50, 1000, EARLY, 15, 50, False),
    ("everywhere", kill_everywhere, 40, CALLS, EARLY, 40, 100, False),
    ("torn", torn, 300, 10000, NORMAL, 50, 1000, False),
    ("power", power, 8, 1000, NORMAL, 4, 40, True),
    ("faults", faults, 30, 1000, EARLY, 20, 50, False),
    ("flips", flips, 40, 1000, TRUSTING, 60, 200, False),
    ("full", full, 1, 10, None, 0, 0, True),
    ("readonly", readonly, 1, 5, None, 0, 0, True),
]


def report(rig, options, number, name, fine, outcome, note=""):
    text = f"{name}: {outcome.runs} runs, {outcome.bad} bad; {rig.lost} of {rig.acked} acknowledged events lost{note}"
    rig.acked = rig.lost = 0
    print(f"{'ok' if fine else 'not ok'} {number} - {text}" if options.tap else f"{'ok  ' if fine else 'FAIL'} {text}")
    for line in outcome.notes[:10] if not fine else []:
        print(f"# {line}")
    sys.stdout.flush()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--only", default="")
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "little"))
    parser.add_argument("--build", default=os.environ.get("BUILD", str(ROOT / "build")))
    parser.add_argument("--count", type=int, default=0, help="runs of each chosen experiment, instead of the usual")
    parser.add_argument("--tap", action="store_true")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what is mounted is unmounted
    rig = Rig(options)
    print(f"# seed {options.seed}")
    no_mount = can_mount(rig)
    number = failed = 0
    try:
        for name, run, short, long, control, few, many, mounts in EXPERIMENTS:
            if options.only and name not in options.only.split(","):
                continue
            number += 1
            if mounts and no_mount:
                print(f"ok {number} - {name} # SKIP {no_mount}")
                continue
            start = time.monotonic()
            outcome = run(rig, options.count or (long if options.long else short))
            failed += outcome.bad > 0
            report(rig, options, number, name, outcome.bad == 0, outcome, f" ({time.monotonic() - start:.0f} s)")
            if control:
                what, flags = control
                outcome = run(rig, many if options.long else few, flags)
                number += 1
                failed += outcome.bad == 0
                report(rig, options, number, f"{name}'s control ({what}) shows", outcome.bad > 0, outcome)
    finally:
        shutil.rmtree(rig.work, ignore_errors=True)
    print(f"1..{number}" if options.tap else f"{failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
