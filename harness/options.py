"""The pytest options of the gate, their values read once into one type, and which tests ``-m`` selects; no torch."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from harness.decoding.folder import default_store
from harness.errors import ExpectedError
from harness.expected import DEFAULT_FILE
from harness.precision import DEFAULT, MEMORY_FORMATS, PRECISIONS, Setting
from harness.records.accuracy_file import default_file

if TYPE_CHECKING:
    import pytest

ACCURACY, THROUGHPUT = "imagenet", "throughput"
"""The marks of the tests that evaluate, and of those that time."""

PILLOW, TORCHVISION, NVJPEG = DECODERS = ("pillow", "torchvision", "nvjpeg")


@dataclass(frozen=True)
class Decoder:
    """A decoder by name, and the device of nvJPEG; the others decode on the CPU."""

    name: str = PILLOW
    device: str | None = None


@dataclass(frozen=True)
class Process:
    """One of the processes of a run."""

    rank: int = 0  # index among the processes that share the images of each case
    world_size: int = 1  # number of such processes; 1 where each process evaluates cases of its own
    local_rank: int = 0  # index among the processes on this machine
    local_world_size: int = 1  # number of those
    staging: Path | None = None  # where another process collects this one's predictions; None if this one does

    @property
    def total(self) -> int:
        """The number of processes that evaluate, on all machines."""
        return max(self.world_size, self.local_world_size)

    @property
    def shares_cases(self) -> bool:
        """Whether several processes evaluate cases of their own."""
        return self.world_size < self.total


def available_cores() -> int:
    """Return how many CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class Options:
    """What to evaluate, and how, as the options' help says; the defaults are those of the Python API."""

    imagenet: str | None = None
    models: tuple[str, ...] = ("core",)
    expected: Path = DEFAULT_FILE
    device: str = "auto"
    settings: tuple[Setting, ...] = (DEFAULT,)  # every combination of precision, memory format, and eager or compiled
    batch_size: int | None = None  # None for one that suits the device
    limit: int | None = None  # None for all images
    decoder: str = PILLOW
    workers: int | None = None  # None for one process per core, shared among the processes of the run
    store: Path | None = None  # None to keep no decoded images
    results: Path | None = None  # None to write no run
    process: Process = Process()

    @property
    def decoding_processes(self) -> int:
        """The number of decoding processes, as given or this process's part of the cores.

        Ranks that share a store take turns: one decodes a geometry while the others wait, so it may use all cores.
        """
        shared = 1 if self.store is not None and self.process.world_size > 1 else self.process.local_world_size
        return self.workers or max(1, available_cores() // shared)


def positive(text: str) -> int:
    """Return a whole number above 0."""
    number = int(text) if text.isascii() and text.isdigit() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number above 0, found {text!r}")
    return number


def folder(text: str) -> Path:
    """Return a folder, with ``~`` as the user's home."""
    if not text:
        raise argparse.ArgumentTypeError("expected a folder, found nothing")
    return Path(os.path.expanduser(text))  # noqa: PTH111 -- Path's fails where there is no such user


def add_options(parser: pytest.Parser) -> None:
    """Declare the options."""
    group = parser.getgroup("imagenet", "pretrained image classifiers: accuracy (-m imagenet), speed (-m throughput)")
    add, environ = group.addoption, os.environ

    def add_list(name: str, known: Sequence[str], noun: str) -> None:
        text = f"{noun}, comma-separated: {', '.join(known)} (default: %(default)s)"
        add(name, metavar="LIST", default=known[0], help=text)

    dataset = "folder or archive of images, or 'synthetic', which needs no download (default: $IMAGENET_DIR)"
    add("--imagenet", metavar="DATASET", default=environ.get("IMAGENET_DIR") or None, help=dataset)
    models = "names, globs or ids, comma-separated, or 'all' (default: core: alexnet, vgg16, resnet18, googlenet)"
    add("--models", metavar="LIST", default="core", help=models)
    add("--expected", metavar="FILE", type=Path, help=f"default: {DEFAULT_FILE} in rootdir, else the project's")
    add("--device", metavar="DEVICE", default="auto", help="auto, cpu, cuda, cuda:N, mps or xpu (default: %(default)s)")
    add_list("--precision", tuple(PRECISIONS), "precisions")
    add_list("--memory-format", tuple(MEMORY_FORMATS), "memory formats")
    add("--compile", action="store_true", help="evaluate each model compiled by torch.compile as well")
    images = "images per forward call, halved when memory runs out (default: 256 on CUDA, 32 on a CPU)"
    add("--batch-size", metavar="N", type=positive, help=images)
    add("--limit", metavar="N", type=positive, help="evaluate a fixed, class-balanced subset of N images")
    cores = f"one per available CPU core, {available_cores()} here, divided among the workers of -n"
    add("--workers", metavar="N", type=positive, help=f"decoding processes (default: {cores})")
    decoders = "pillow (used for the published values), torchvision or nvjpeg (default: %(default)s)"
    add("--decoder", metavar="DECODER", choices=DECODERS, default=PILLOW, help=decoders)
    kept = "folder that keeps decoded images between runs (default: $IMAGENET_STORE, else the user's cache)"
    add("--store", metavar="DIR", type=folder, help=kept)
    add("--no-store", action="store_true", help="keep no decoded images; hold one geometry at a time in $TMPDIR")
    run = "folder for the run: record.json and each image's predictions; replaces an earlier run (default: none)"
    add("--results", metavar="DIR", type=folder, help=run)


def read_options(config: pytest.Config, process: Process) -> Options:
    """Return the options' values; an unknown name in a list is an ExpectedError."""
    get = config.getoption
    precisions = _known("--precision", get("precision"), tuple(PRECISIONS))
    memory_formats = _known("--memory-format", get("memory_format"), tuple(MEMORY_FORMATS))
    compiled = (False, True) if get("compile") else (False,)
    return Options(
        imagenet=get("imagenet"),
        models=listed(get("models")),
        expected=get("expected") or default_file(config.rootpath),
        device=get("device"),
        settings=tuple(Setting(*combined) for combined in product(precisions, memory_formats, compiled)),
        batch_size=get("batch_size"),
        limit=get("limit"),
        decoder=get("decoder"),
        workers=get("workers"),
        store=None if get("no_store") else get("store") or default_store(),
        results=get("results"),
        process=process,
    )


def listed(text: str) -> tuple[str, ...]:
    """Return the parts of a comma-separated list, each once."""
    return tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


def _known(option: str, text: str, names: tuple[str, ...]) -> tuple[str, ...]:
    if unknown := [name for name in listed(text) if name not in names]:
        raise ExpectedError(f"{option}: expected one of {', '.join(names)}, found {unknown[0]!r}")
    return listed(text)


def is_selected(config: pytest.Config, mark: str) -> bool:
    """Return whether ``-m`` would select a test with only this mark, but not one without marks."""
    import pytest  # not at the top, where the command line would import it too
    from _pytest.mark.expression import Expression  # pytest has no public way to ask this before it collects

    if not (text := config.getoption("markexpr")):
        return False
    try:
        expression = Expression.compile(text)
        without_marks = expression.evaluate(lambda *_, **__: False)
        return not without_marks and expression.evaluate(lambda name, /, **_: name == mark)
    except SyntaxError as error:
        raise pytest.UsageError(f"wrong expression after -m: {text!r}: {error}") from error


def require_selected(config: pytest.Config, needs: Mapping[str, Sequence[str]]) -> None:
    """Raise a UsageError for an option that was given although ``-m`` selects none of the marks that it needs."""
    import pytest

    given = {arg.partition("=")[0] for arg in map(str, config.invocation_params.args)}
    for option, marks in needs.items():
        if option in given and not any(is_selected(config, mark) for mark in marks):
            raise pytest.UsageError(f"{option} has no effect without {' or '.join(f'-m {mark}' for mark in marks)}")


def case_id(nodeid: str) -> str:
    """Return the id of the case or timing of a test: the text in its brackets."""
    return nodeid.partition("[")[2].removesuffix("]")
