"""Versions of a package: which there are, each installed over the current environment, and the gate run with it."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path

from packaging.utils import canonicalize_version
from packaging.version import Version

from harness.ab.rounds import run_gate
from harness.errors import HarnessError, RecordError
from harness.records.run_folder import Run, read_run

_LAST_LINES = 5
_USAGE_ERROR = 4  # pytest's exit status


class SkippedError(Exception):
    """A version that cannot be installed, or with which no model is evaluated; the message says why."""


@dataclass(frozen=True)
class Package:
    """What is bisected: with companions, dependencies are installed as well, but for numpy and Pillow."""

    name: str
    companions: tuple[str, ...] = ()  # packages installed with it in the versions that it needs
    index: str = ""  # URL of another index, of which pre-releases count too; empty for pip's own

    def versions(self, good: str, bad: str) -> list[str]:
        """Return the versions on the index from ``good`` to ``bad``, of which wheels for this Python exist."""
        asked = _pip("index", "versions", self.name, "--only-binary=:all:", *self._options())
        found = re.search(r"^Available versions: (.*)$", asked.stdout, re.MULTILINE)
        if asked.returncode or found is None:
            raise HarnessError(f"--package {self.name}: its versions cannot be listed: {_last_line(asked.stderr)}")
        versions = sorted(found[1].split(", "), key=Version)
        known = [canonicalize_version(version) for version in versions]
        first, last = (known.index(end) if end in known else -1 for end in map(canonicalize_version, (good, bad)))
        if not -1 < first < last:
            shown = ", ".join([*versions[:1], "...", *versions[-3:]] if len(versions) > 4 else versions)
            expected = f"expected a version of {self.name} and a later one, among {shown}"
            raise HarnessError(f"--good {good} --bad {bad}: {expected}")
        return versions[first : last + 1]

    def install(self, version: str, cache: Path, making: Path) -> Path:
        """Return a folder in the cache with this version, for PYTHONPATH; a new one is made whole in another folder."""
        requirements = [f"{self.name}=={version}", *self.companions]
        about = " ".join([sys.version, *requirements, self.index])
        folder = cache / f"{self.name}-{version}-{hashlib.sha256(about.encode()).hexdigest()[:12]}"
        if not folder.is_dir():
            cache.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(making, ignore_errors=True)  # of a search that was killed
            dependencies = [] if self.companions else ["--no-deps"]
            options = ["--target", str(making), "--only-binary=:all:", *dependencies, *self._options()]
            installed = _pip("install", *options, *requirements)
            if installed.returncode:
                raise SkippedError(f"cannot be installed: {_last_line(installed.stderr)}")
            for dependency in {"numpy", "pillow"} - {self.name.lower(), *self.companions}:
                for other in distributions(name=dependency, path=[str(making)]):  # which would be measured as well
                    for path in {Path(file.parts[0]) for file in other.files or ()} - {Path("..")}:
                        shutil.rmtree(making / path)
            making.rename(folder)
        return folder

    def _options(self) -> list[str]:
        return ["--pre", "--index-url", self.index] if self.index else []


def gate_run(environment: Path, arguments: Sequence[str], results: Path) -> Run:
    """Return the run of the gate with the packages in a folder, read from ``results`` where it is there already.

    Whether the published values are met is of no interest; SkippedError is raised if a model has no result.
    """
    if not results.exists():
        unfinished = results.with_name("unfinished")  # a run that is interrupted is written too, as far as it came
        shutil.rmtree(unfinished, ignore_errors=True)
        ended = run_gate(sys.executable, ["-q", f"--results={unfinished}", *arguments], environment)
        if ended.returncode in (0, 1) and unfinished.exists():  # or it was ended from elsewhere
            unfinished.rename(results)
        else:
            last = [line for line in ended.stdout.splitlines() if line.strip()][-_LAST_LINES:]
            if ended.returncode == _USAGE_ERROR:
                raise HarnessError(f"the gate rejects its options: {last[-1].removeprefix('ERROR: ')}")
            raise SkippedError("the gate ended with status {}: {}".format(ended.returncode, " | ".join(last)))
    try:
        run = read_run(results)
    except RecordError as error:
        raise SkippedError(str(error)) from error
    if run.record.missing:
        raise SkippedError(f"{run.record.missing[0].id} has no result: {run.record.missing[0].detail}")
    return run


def _pip(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["pip says nothing"])[-1]
