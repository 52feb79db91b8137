"""The gate in a process of its own, with another interpreter or other packages: for ``ab`` and ``bisect``."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

_ROOT = Path(__file__).parents[2]


def run_gate(python: str, arguments: Sequence[str], packages: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Return ``imagenet-gate run`` of this harness after its end; packages in a folder precede those installed.

    An OSError says that there is no interpreter of this name.
    """
    folders = [packages] if packages else []
    # CUDA's libraries come in packages of their own; where only they differ, torch looks there first.
    libraries = (found for folder in folders for found in folder.glob("nvidia/*/lib"))
    paths = {"PYTHONPATH": [*folders, _ROOT], "LD_LIBRARY_PATH": libraries}
    variables = {name: _before(name, first) for name, first in paths.items()}
    return subprocess.run(
        [python, "-m", "harness", "run", *arguments], env={**os.environ, **variables}, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
    )  # fmt: skip


def _before(variable: str, folders: Iterable[Path]) -> str:
    return os.pathsep.join([*map(str, folders), *filter(None, [os.environ.get(variable)])])
