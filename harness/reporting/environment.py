"""What a run ran on: versions and hardware, as facts."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator
from dataclasses import dataclass, fields
from importlib import metadata

from harness.data.decoder import libjpeg_turbo_version, pillow_version

PACKAGES = ("torch", "torchvision", "numpy")

Fact = str | int | None
UNKNOWN = "unknown"
"""A fact about a run that this harness did not make."""


@dataclass(frozen=True)
class Environment:
    """Versions at run time, and hardware by name; None where there is no such thing, as CUDA on a CPU.

    Attributes:
        threads: of torch, in each of the processes.
        processes: that evaluated beside each other, on all machines.
    """

    torch: str
    torchvision: str
    python: str
    numpy: str
    pillow: str
    libjpeg_turbo: str
    cuda: str | None
    cudnn: str | None
    driver: str | None
    device: str
    cpu: str
    threads: int
    processes: int = 1

    @property
    def hardware(self) -> tuple[str, str, int]:
        """What two runs must share for their speeds to be comparable."""
        return self.device, self.cpu, self.threads

    def differences(self, other: Environment) -> Iterator[tuple[str, Fact, Fact]]:
        """Yield each fact that differs: its name, here and in ``other``."""
        for field in fields(self):
            here, there = getattr(self, field.name), getattr(other, field.name)
            if here != there:
                yield field.name, here, there


def environment(device_facts: dict[str, Fact], processes: int = 1) -> Environment:
    """Return the environment of this process.

    Args:
        device_facts: from ``harness.evaluation.device``.
        processes: that evaluate beside each other.
    """
    found = {name.replace("-", "_"): version for name, version in versions().items()}
    return Environment(**{"python": platform.python_version(), **found, **device_facts, "processes": processes})  # type: ignore[arg-type]


def versions() -> dict[str, str]:
    """Return the installed versions by name, with the build where a package is imported; none is imported for it."""
    found = {name: getattr(sys.modules.get(name), "__version__", metadata.version(name)) for name in PACKAGES}
    found["pillow"] = pillow_version()
    found["libjpeg-turbo"] = libjpeg_turbo_version()
    return found
