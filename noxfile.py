"""The gate and the timings across versions of torch: ``nox -s gate throughput -- 2.9.1/0.24.1 2.14.1/0.29.1``.

A pair TORCH/TORCHVISION is an environment of its own, made by pip, which obeys PIP_INDEX_URL and the like. What
follows the pairs goes to pytest. Each session leaves a run folder in $RUNS (default: runs), such as runs/gate-2.9.1,
and ``nox -s compare -- runs/gate-2.9.1 runs/gate-2.14.1`` shows what differs, with an exit status.
``nox -s ab -- 2.9.1/0.24.1 2.14.1/0.29.1`` times two pairs alternately.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

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


@nox.session(venv_backend="none")
def ab(session: nox.Session) -> None:
    """Time two pairs of versions alternately, in an environment of each."""
    if len(PAIRS) != 2:
        session.error("give two pairs TORCH/TORCHVISION after --, such as 2.9.1/0.24.1 2.14.1/0.29.1")
    pythons = []
    for pair in PAIRS:
        folder = Path(".nox") / f"ab-{pair.replace('/', '-')}"
        python = folder.resolve() / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        if not python.exists():
            session.run(sys.executable, "-m", "venv", str(folder))
        session.run(str(python), "-m", "pip", "install", *_needed(pair))
        pythons.append(str(python))
    session.run(pythons[1], "-m", "harness", "ab", *pythons, *_others(session))


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
    session.install(*_needed(pair))
    results = f"{RUNS}/{session.name.partition('(')[0]}-{pair.partition('/')[0]}"
    session.run("python", "-m", "pytest", "-m", mark, *defaults, f"--results={results}", *_others(session))


def _needed(pair: str) -> list[str]:
    """Return what pip installs into the environment of a pair."""
    torch, _, torchvision = pair.partition("/")
    return [f"torch=={torch}", f"torchvision=={torchvision}", "--editable", ".[lite]"]


def _others(session: nox.Session) -> list[str]:
    return [argument for argument in session.posargs if argument not in PAIRS]
