"""The gate and the timings across versions of torch: ``nox -s gate throughput -- 2.9.1/0.24.1 2.14.1/0.29.1``.

A pair TORCH/TORCHVISION is an environment of its own, made by pip, which obeys PIP_INDEX_URL and the like. What
follows the pairs goes to pytest. Each session leaves a run folder in $RUNS (default: runs), such as runs/gate-2.9.1,
and ``nox -s compare -- runs/gate-2.9.1 runs/gate-2.14.1`` shows what differs, with an exit status.
"""

from __future__ import annotations

import os
import re
import sys

import nox

nox.options.sessions = []
nox.options.reuse_venv = "yes"

RUNS = os.environ.get("RUNS", "runs")
_PAIR = re.compile(r"\d[^/\s]*/\d[^/\s]*")


def _after_dashes() -> list[str]:
    """Return the arguments after ``--``, which nox itself gives only to a session that is running already."""
    return sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else []


PAIRS = [argument for argument in _after_dashes() if _PAIR.fullmatch(argument)]
versions = nox.parametrize("pair", PAIRS or [""], ids=[pair.partition("/")[0] for pair in PAIRS] or ["none given"])


@nox.session
@versions
def gate(session: nox.Session, pair: str) -> None:
    """Evaluate on images that need no download, or on those given by --imagenet after the pairs."""
    _run(session, pair, "imagenet", "--imagenet=synthetic")


@nox.session
@versions
def throughput(session: nox.Session, pair: str) -> None:
    """Time the models; no images and no weights are needed."""
    _run(session, pair, "throughput")


@nox.session
def compare(session: nox.Session) -> None:
    """Compare two run folders; comparing needs no torch."""
    project = nox.project.load_toml("pyproject.toml")["project"]
    session.install(*(needed for needed in project["dependencies"] if not needed.startswith("torch")))
    session.install("--no-deps", "--editable", ".")
    session.run("python", "-m", "harness", "compare", *session.posargs)


def _run(session: nox.Session, pair: str, mark: str, *defaults: str) -> None:
    if not pair:
        session.error("give pairs TORCH/TORCHVISION after --, such as 2.9.1/0.24.1 2.14.1/0.29.1")
    torch, _, torchvision = pair.partition("/")
    session.install(f"torch=={torch}", f"torchvision=={torchvision}", "--editable", ".[lite]")
    results = f"{RUNS}/{session.name.partition('(')[0]}-{torch}"
    arguments = [argument for argument in session.posargs if argument not in PAIRS]
    session.run("python", "-m", "pytest", "-m", mark, *defaults, f"--results={results}", *arguments)
