"""Ends runs of the gate at random moments, and reports what was lost or left behind: ``python -m tests.fuzz.kills``."""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

from harness.dataset import SYNTHETIC
from harness.decoding.upkeep import list_stores, verify
from harness.errors import HarnessError
from harness.records.run_folder import read_run
from tests.builder import Builder

ROOT = Path(__file__).parents[2]
PYTEST = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "-m", "imagenet"]
GATE = [*PYTEST, "--imagenet=synthetic", "--limit=20", "--workers=1"]
TWO = "--models=alexnet,resnet18"
RANKS = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--no-python"]
FILES = ("pixels", "hashes", "ids.json")
WAYS = {
    "plain": [*GATE, TWO],
    "no-store": [*GATE, TWO, "--no-store"],
    "vgg16": [*GATE, "--models=vgg16"],
    "workers": [*GATE, TWO, "-n2"],
    "ranks": [*RANKS, *GATE, TWO],
}


def run(
    folder: Path, way: str, number: signal.Signals | None, after: float, *, at_rank: bool = False
) -> dict[str, Any]:
    """Run the gate in a folder, send the signal after so many seconds, if one is given, and return what happened."""
    results, temporary, output = folder / "run", folder / "temporary", folder / "output"
    for made in (temporary, folder / "store"):
        made.mkdir(exist_ok=True)
    environment = {"PYTHONPATH": str(ROOT), "TMPDIR": str(temporary), "IMAGENET_STORE": str(folder / "store")}
    command = [*WAYS[way], f"--results={results}"]
    before = _content(results)
    with output.open("w") as file:
        started = time.monotonic()
        process = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, **environment}, stdout=file, stderr=file, start_new_session=True
        )
        if not _has_ended(process.pid, within=after) and number is not None:
            os.kill(_rank(temporary, process.pid) if at_rank else process.pid, number)
        sent, scheduled = time.monotonic(), _scheduled(process.pid)
        if not _has_ended(process.pid, within=100):
            process.kill()
    seconds = time.monotonic() - sent
    running, waiting = (after - before for before, after in zip(scheduled, _scheduled(process.pid), strict=True))
    return {
        "way": way,
        "after": round(after, 2),
        "whole": round(sent - started, 2),
        "seconds": round(seconds, 2),
        "running": round(running, 2),
        "waiting": round(waiting, 2),
        "status": process.wait(),
        "traceback": "Traceback" in output.read_text(),
        "processes": _left(temporary),
        "left": [
            path.name
            for path in (*temporary.iterdir(), *folder.glob("run?*"))
            if not path.name.startswith(("torchinductor_", "torchelastic_", "pytest-of-"))
        ],  # of torch and of pytest
        "results": "as before" if _content(results) == before else _read(results),
        "last": output.read_text().strip().splitlines()[-1:],
    }


def kill_builds(root: Path, trials: int) -> Counter[str]:
    """Kill builds of a store, each where the one before was killed, and compare what is there with a sound one."""
    for name in ("first", "sound"):  # the first waits for the forkserver
        started = time.monotonic()
        list(Builder(SYNTHETIC, root / name).reports())
    whole = time.monotonic() - started
    [sound] = list_stores(root / "sound")
    counts: Counter[str] = Counter()
    built, before = root / "built", 0
    while counts["kills"] < trials:
        builder = Builder(SYNTHETIC, built)
        builder.kill(after=random.uniform(0.3, 1.1) * whole)
        counts["kills"] += builder.status == -signal.SIGKILL
        for info in list_stores(built):
            counts["kills with rows lost"] += info.decoded < before
            counts["damaged rows"] += len(verify(info, lambda *_: None))
            before = info.decoded
            if builder.status == 0:
                same = [(info.folder / name).read_bytes() == (sound.folder / name).read_bytes() for name in FILES]
                counts["whole stores"] += 1
                counts["other stores"] += not all(same)
                shutil.rmtree(built)
                before = 0
    return counts


def _content(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def _read(folder: Path) -> str:
    """Return what a run folder holds, read as every command reads it."""
    try:
        run = read_run(folder)
        for case in run.record.cases:
            run.predictions(case)
    except HarnessError as error:
        return f"LOST: {error}"
    return f"{len(run.record.cases)} cases, {len(run.record.missing_cases)} missing"


def _members(temporary: Path) -> dict[int, bool]:
    """Return the processes that have this temporary folder (torchrun starts sessions), and whether each is a rank."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if f"TMPDIR={temporary}\0".encode() in (environment := (path / "environ").read_bytes()):
                is_rank = b"\0LOCAL_RANK=" in environment
                found[int(path.name)] = is_rank and b"pytest" in (path / "cmdline").read_bytes()
    return found


def _rank(temporary: Path, leader: int) -> int:
    """Return one of the ranks, at random; the leader if none has been started."""
    return random.choice([pid for pid, is_rank in _members(temporary).items() if is_rank] or [leader])


def _left(temporary: Path) -> int:
    """Return how many processes are there ten seconds later: xdist's workers miss their controller after five."""
    deadline = time.monotonic() + 10
    while (left := _members(temporary)) and time.monotonic() < deadline:
        time.sleep(0.1)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    return len(left)


def _has_ended(pid: int, within: float) -> bool:
    """Return whether a child has ended within so many seconds; the system keeps what it knows of it."""
    deadline = time.monotonic() + within
    while (ended := os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is None:
        if time.monotonic() > deadline:
            break
        time.sleep(0.01)
    return ended is not None


def _scheduled(pid: int) -> tuple[float, float]:
    """Return for how many seconds the main thread has run, and waited for a core (proc(5), schedstat)."""
    running, waiting, _ = Path(f"/proc/{pid}/schedstat").read_text().split()
    return int(running) / 1e9, int(waiting) / 1e9


def _unused_memory(since: float) -> list[str]:
    """Return the names of shared memory made since then that is still there after some seconds, and no process has."""
    unused = {str(path) for path in Path("/dev/shm").iterdir() if path.stat().st_mtime >= since}
    for path in Path("/proc").glob("[0-9]*/maps"):
        with suppress(OSError):
            mapped = path.read_text()
            unused = {name for name in unused if name not in mapped}
    time.sleep(10)  # other runs may have made some, and have ended meanwhile
    return sorted(name for name in unused if Path(name).exists())


def _show(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    """Run trials and print a line for each, and what they have in common."""
    parser = argparse.ArgumentParser()
    parser.add_argument("way", choices=[*WAYS, "build"])
    parser.add_argument("--signals", nargs="+", default=["SIGTERM", "SIGINT"])
    parser.add_argument("--trials", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--at-rank", action="store_true")
    options = parser.parse_args()
    random.seed(options.seed)
    counts: Counter[str] = Counter()
    started = time.time()
    with tempfile.TemporaryDirectory() as root:
        if options.way == "build":
            return _show(str(dict(kill_builds(Path(root), options.trials))))
        whole = run(Path(root), options.way, None, 200)
        _show(json.dumps(whole))
        for number in range(options.trials):
            name = options.signals[number % len(options.signals)]
            after = random.uniform(0, whole["whole"])
            found = run(Path(root), options.way, signal.Signals[name], after, at_rank=options.at_rank)
            _show(f"{name} {json.dumps(found)}")
            counts[f"status {found['status']}"] += 1
            counts["over 2 s"] += found["seconds"] > 2
            counts["ran over 1.5 s"] += found["running"] > 1.5
            counts["left behind"] += bool(found["left"] or found["processes"])
            counts["lost"] += "LOST" in found["results"]
            counts["tracebacks"] += found["traceback"]
    return _show(f"{dict(counts)}, shared memory left behind: {_unused_memory(started)}")


if __name__ == "__main__":
    main()
