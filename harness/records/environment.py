"""Versions, hardware and command of a run, as facts."""

from __future__ import annotations

import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import PIL
from PIL import features

from harness import __version__
from harness.errors import HarnessError
from harness.records.evidence import Name

if TYPE_CHECKING:
    from harness.options import Options, Process

_PACKAGE = Path(__file__).resolve().parents[1]


class Environment(msgspec.Struct, frozen=True, kw_only=True):
    """Versions at run time, and hardware by name; None where something does not exist or is not known."""

    torch: Name | None = None
    torchvision: Name | None = None
    python: Name | None = None
    numpy: Name | None = None
    pillow: Name | None = None
    libjpeg_turbo: Name | None = None
    cuda: Name | None = None
    hip: Name | None = None
    cudnn: Name | None = None
    driver: Name | None = None
    device: Name | None = None
    capability: Name | None = None
    onednn: Name | None = None  # the library of a CPU's convolutions and products; not known on other devices
    instructions: Name | None = None  # the vector instructions that torch's own kernels use on a CPU
    cpu: Name | None = None
    threads: int | None = None  # torch's threads in each process
    processes: int | None = 1  # number of processes that evaluated at the same time, on all machines
    harness: Name | None = None  # this package's version
    harness_commit: Name | None = None  # that of the git checkout that the package was imported from
    harness_changed: bool | None = None  # whether files of that checkout differed from the commit
    decoder: Name | None = None
    options: Name | None = None  # those given that say how to evaluate, as of harness.options.Options

    @property
    def facts(self) -> dict[str, Any]:
        """The facts that are known, by name."""
        return {name: value for name, value in msgspec.structs.asdict(self).items() if value is not None}

    @property
    def hardware(self) -> dict[str, Any]:
        """What two runs must share for their speeds to be comparable."""
        return {"device": self.device, "cpu": self.cpu, "threads": self.threads}

    def differences(self, other: Environment) -> Iterator[tuple[str, Any, Any]]:
        """Yield each fact that differs: its name, its value here and in ``other``."""
        here, there = msgspec.structs.asdict(self), msgspec.structs.asdict(other)
        yield from ((name, here[name], there[name]) for name in here if here[name] != there[name])


def shown_name(fact: str) -> str:
    """Return the name of a fact as people read it."""
    return "uncommitted changes" if fact == "harness_changed" else fact.replace("harness", "imagenet-gate")


def current_environment(device_facts: Mapping[str, Any], options: Options) -> Environment:
    """Return the environment of this process, with facts from ``harness.device``."""
    found: dict[str, Any] = {name.replace("-", "_"): version for name, version in versions().items()}
    commit, changed = _checkout(_PACKAGE)
    # What ids, the dataset and the device do not already show.
    given = {"batch-size": options.batch_size, "limit": options.limit, "workers": options.workers}
    return Environment(
        python=platform.python_version(),
        processes=options.process.total,
        harness=__version__,
        harness_commit=commit,
        harness_changed=changed,
        decoder=options.decoder,
        options=" ".join(f"--{name} {value}" for name, value in given.items() if value is not None) or None,
        **found,
        **device_facts,
    )


def describe_versions() -> str:
    """Return the versions of this process in one line, this package's last."""
    commit, changed = _checkout(_PACKAGE)
    own = f"imagenet-gate {__version__}" + (f" ({commit[:12]}{', changed' if changed else ''})" if commit else "")
    return ", ".join([*(f"{name} {version}" for name, version in versions().items()), own])


@cache  # as it was when the run began, whatever happens to the checkout meanwhile
def _checkout(package: Path) -> tuple[str | None, bool | None]:
    """Return the commit of the git checkout that a package lies in, and whether it was changed; None if it is in none.

    Only the folder above the package counts: an installed package may lie somewhere in another project's checkout.
    """
    if not (package.parent / ".git").exists():
        return None, None
    command = ["git", "describe", "--always", "--dirty", "--exclude=*", "--abbrev=40"]
    # In a git hook these variables name another repository.
    environ = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        found = subprocess.run(
            command, cwd=package.parent, env={**environ, "GIT_OPTIONAL_LOCKS": "0"},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):  # no git, or one that refuses the checkout of another user
        return None, None
    commit, _, changed = found.stdout.strip().partition("-")
    return commit, bool(changed)


def check_one_tree(paths: Iterable[Path]) -> None:
    """Raise a HarnessError where tests would be collected beside another harness than the imported one."""
    for path in paths:
        at = Path(os.path.realpath(path))
        found = (above / "harness" for above in [at, *at.parents] if (above / "harness/plugin.py").is_file())
        if (beside := next(found, _PACKAGE)) != _PACKAGE:
            raise HarnessError(
                f"the gate's tests must be run by the harness beside them, {beside}; the imported one is {_PACKAGE}: "
                f"run `python -m pytest` in {beside.parent}, or install the project from there again"
            )


def versions() -> dict[str, str]:
    """Return the installed versions by name, including the build tag of packages that are already imported."""
    packages = ("torch", "torchvision", "numpy")
    # torch.__version__ is of a type of its own
    found = {name: str(getattr(sys.modules.get(name), "__version__", metadata.version(name))) for name in packages}
    return {**found, "pillow": pillow_version(), "libjpeg-turbo": libjpeg_turbo_version()}


def pillow_version() -> str:
    """Return Pillow's version; not from the metadata, since a Pillow with SIMD is another distribution."""
    return PIL.__version__


def libjpeg_turbo_version() -> str:
    """Return the version of the libjpeg-turbo that Pillow uses, ``none`` if it uses another libjpeg."""
    return features.version_feature("libjpeg_turbo") or "none"  # type: ignore[no-untyped-call,unused-ignore]


def cpu_name() -> str:
    """Return the processor's name."""
    cpuinfo = Path("/proc/cpuinfo")
    found = re.search(r"^model name.*?:(.*)$", cpuinfo.read_text(), re.MULTILINE) if cpuinfo.exists() else None
    return found[1].strip() if found else platform.processor() or platform.machine()


def driver_version() -> str | None:
    """Return the version of NVIDIA's kernel module; None where it is not reported, as in WSL."""
    about = Path("/proc/driver/nvidia/version")
    found = re.search(r"Kernel Module[^\n]*?\s(\d+(?:\.\d+)+)\s", about.read_text()) if about.exists() else None
    return found[1] if found else None


def command_of(arguments: Sequence[str | os.PathLike[str]], process: Process, environ: Mapping[str, str]) -> str:
    """Return the command that started this run, with the environment variables that it used.

    >>> from harness.options import Process
    >>> command_of(["-m", "imagenet", "--models", "resnet*"], Process(), {"IMAGENET_DIR": "/data", "HOME": "/root"})
    "IMAGENET_DIR=/data python -m pytest -m imagenet --models 'resnet*'"
    """
    names, launcher = ["IMAGENET_DIR", "OMP_NUM_THREADS", "PYTEST_ADDOPTS"], "python"
    if process.world_size > 1:
        names.remove("OMP_NUM_THREADS")  # torchrun sets it
        nodes = process.world_size // process.local_world_size
        launcher = f"torchrun{f' --nnodes {nodes}' if nodes > 1 else ''} --nproc-per-node {process.local_world_size}"
    variables = "".join(f"{name}={shlex.quote(environ[name])} " for name in names if environ.get(name))
    return f"{variables}{launcher} -m pytest {shlex.join(map(str, arguments))}".rstrip()


def shorten(error: object) -> str:
    """Return an error's text without the middle of what it quotes from a damaged file."""
    return re.sub(r"(?s)\A(.{300}).+(.{200})\Z", r"\1 ... \2", str(error))
