"""The gate in a process of its own, with another interpreter or other packages: for ``ab`` and ``bisect``."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

_ROOT = Path(__file__).parents[2]


def run_gate(python: str, arguments: Sequence[str], packages: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Return ``imagenet-gate run`` after its end: this harness, whatever is installed there; an OSError if none starts.

    Args:
        python: interpreter.
        arguments: pytest's.
        packages: folder of packages that are imported instead of those installed.
    """
    first = () if packages is None else (packages,)
    # CUDA's libraries come in packages of their own; where only they differ, torch looks there first.
    libraries = () if packages is None else packages.glob("nvidia/*/lib")
    variables = {
        "PYTHONPATH": _before("PYTHONPATH", (*first, _ROOT)),
        "LD_LIBRARY_PATH": _before("LD_LIBRARY_PATH", libraries),
    }
    return subprocess.run(
        [python, "-m", "harness", "run", *arguments], env={**os.environ, **variables}, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
    )  # fmt: skip


def _before(variable: str, folders: Iterable[Path]) -> str:
    return os.pathsep.join([*map(str, folders), *filter(None, [os.environ.get(variable)])])
