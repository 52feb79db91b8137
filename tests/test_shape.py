"""Limits that keep the harness readable: its size, what the smallest run goes through, and what imports torch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HARNESS = ROOT / "harness"
SMALLEST_RUN = ["-qm", "imagenet", "--imagenet=synthetic", "--models=alexnet", "--limit=32", "-p", "no:cacheprovider"]


def test_the_harness_is_small() -> None:
    """The core, the core with all other packages, and each file, which is read at one sitting."""
    files = {path for path in HARNESS.rglob("*.py") if path != HARNESS / "__main__.py"}
    lines = {path: len(path.read_text("utf-8").splitlines()) for path in files}

    assert 0 < sum(count for path, count in lines.items() if path.parent == HARNESS) <= 2_800
    assert sum(lines.values()) <= 14_000
    assert {path: count for path, count in lines.items() if count > 300} == {}


PROFILED = """
import collections, inspect, json, sys
from pathlib import Path

import pytest

harness = str(Path("harness").resolve())
functions = collections.defaultdict(set)


def profile(frame, event, _argument):
    code = frame.f_code
    # Functions only: class bodies have no new locals, and comprehensions are calls in some versions of Python.
    is_function = code.co_flags & inspect.CO_NEWLOCALS and not code.co_name.startswith("<")
    if event == "call" and is_function and code.co_filename.startswith(harness):
        functions[code.co_filename[len(harness) + 1 :]].add((code.co_name, code.co_firstlineno))


if __name__ == "__main__":  # decoding processes import this file too
    import torch, torchvision  # before they are profiled, which would take four times as long

    sys.setprofile(profile)
    status = pytest.main(sys.argv[2:])
    sys.setprofile(None)
    modules = [name for name in sys.modules if name.partition(".")[0] == "harness"]
    found = {"status": status, "functions": {name: len(names) for name, names in functions.items()}, "modules": modules}
    Path(sys.argv[1]).write_text(json.dumps(found))
"""


@pytest.mark.slow
def test_the_smallest_run_goes_through_little(tmp_path: Path) -> None:
    """The files that a reader has to follow from the options to the verdict, their functions, and what is imported."""
    (tmp_path / "profiled.py").write_text(PROFILED)
    program, found = str(tmp_path / "profiled.py"), tmp_path / "found.json"

    run = subprocess.run([sys.executable, program, str(found), *SMALLEST_RUN], cwd=ROOT, capture_output=True, text=True)

    values = json.loads(found.read_text())
    assert values["status"] == 0, run.stdout
    assert sum(values["functions"].values()) <= 300, values["functions"]
    assert len(values["functions"]) <= 35, values["functions"]
    assert len(values["modules"]) <= 50, values["modules"]


COMMANDS = """
from importlib.util import find_spec
from pathlib import Path

from harness.cli.main import main
from tests.records import case_result, run_record, write_run

for name in ("a", "b"):
    write_run(Path(name), run_record([case_result(name)]))
main(["compare", "a", "a"])
main(["merge", "a", "b", "--results", "all"])
main(["report", "a", "--markdown", "report.md", *(["-o", "page.html"] if find_spec("altair") else [])])
assert sorted(map(str, Path().iterdir()))[:3] == ["a", "all", "b"]
"""


def test_commands_import_no_torch(tmp_path: Path) -> None:
    """Neither judging nor comparing, merging or reporting; collecting is in test_command_line.py."""
    program = f"{COMMANDS}\nimport sys\nassert 'torch' not in sys.modules"

    run = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)})

    assert run.returncode == 0
