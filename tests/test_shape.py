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


def _lines(pattern: str) -> dict[str, int]:
    """Return the number of lines of each file of the harness that the pattern matches."""
    files = {*HARNESS.glob(pattern)} - {HARNESS / "__main__.py"}
    return {str(path.relative_to(HARNESS)): len(path.read_text("utf-8").splitlines()) for path in files}


@pytest.mark.parametrize(("pattern", "limit"), [("*.py", 2_800), ("**/*.py", 14_000)], ids=["core", "all"])
def test_the_harness_is_small(pattern: str, limit: int) -> None:
    """The core, and the core with all other packages."""
    lines = _lines(pattern)

    assert 0 < sum(lines.values()) <= limit, sorted(lines.items(), key=lambda item: -item[1])


def test_no_file_is_long() -> None:
    """Each is read at one sitting."""
    assert {name: lines for name, lines in _lines("**/*.py").items() if lines > 300} == {}


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
from harness.cli.main import main
from tests.records import case_result, run_record, write_run

for name in ("a", "b"):
    write_run(Path(name), run_record([case_result(name)]))
main(["compare", "a", "a"])
main(["merge", "a", "b", "--results", "all"])
main(["report", "a", "--markdown", "report.md", *(["-o", "page.html"] if find_spec("altair") else [])])
assert sorted(map(str, Path().iterdir()))[:3] == ["a", "all", "b"]
"""


@pytest.mark.parametrize(
    "statements",
    [
        COMMANDS,
        f"import pytest; pytest.main(['--co', '-q', '-m', 'imagenet', '--imagenet=synthetic', '--rootdir={ROOT}', "
        f"'{ROOT}/tests'])",
    ],
    ids=["commands", "collect"],
)
def test_torch_is_imported_where_it_is_needed_only(statements: str, tmp_path: Path) -> None:
    """Not for collecting tests, parsing options, judging, comparing, merging or reporting."""
    program = (
        "import atexit, sys\nfrom importlib.util import find_spec\nfrom pathlib import Path\n"
        "atexit.register(lambda: print('\\nTORCH:', 'torch' in sys.modules, 'harness' in sys.modules))\n"
        f"{statements}"
    )
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}

    run = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=environ, capture_output=True, text=True)

    assert run.returncode == 0, run.stderr
    assert run.stdout.endswith("\nTORCH: False True\n"), run.stdout
