"""The pytest options of the gate and of throughput, declared in one group and read once."""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from harness.commands.options import folder, positive, positives
from harness.data.decoder import DECODERS
from harness.data.inventory import default_store
from harness.data.layouts import EMBEDDED
from harness.errors import ExpectedError, ResultsError
from harness.evaluation.place import Place, available_cores
from harness.evaluation.precision import PRECISIONS
from harness.evaluation.setting import CHANNELS_LAST, MEMORY_FORMATS, Setting
from harness.gate.expected_file import DEFAULT_FILE
from harness.reporting.baseline import EMBEDDED_BASELINE, BaselineOptions

if TYPE_CHECKING:
    import pytest


@dataclass(frozen=True)
class Options:
    """The options, read once.

    Attributes:
        settings: every combination of precision, memory format, and eager or compiled that was asked for.
        batch_sizes: to be timed; None for those that suit the device.
        results: folder for the run; None to write none.
        baseline: an earlier run to pair with, and how; None to pair with none.
    """

    imagenet: str | None
    models: tuple[str, ...]
    expected: Path
    device: str
    settings: tuple[Setting, ...]
    batch_size: int | None
    batch_sizes: tuple[int, ...] | None
    limit: int | None
    decoder: str
    workers: int
    store: Path | None
    results: Path | None
    baseline: BaselineOptions | None

    @property
    def precisions(self) -> tuple[str, ...]:
        """The precisions among the settings."""
        return tuple(dict.fromkeys(setting.precision for setting in self.settings))


def add_options(parser: pytest.Parser) -> None:
    """Declare them."""
    group = parser.getgroup("imagenet", "pretrained image classifiers: accuracy (-m imagenet), speed (-m throughput)")
    group.addoption(
        "--imagenet",
        metavar="SPLIT",
        default=os.environ.get("IMAGENET_DIR") or None,
        help="folder or archive of the image set, or 'embedded' for images that need no download (default: "
        "$IMAGENET_DIR)",
    )
    group.addoption(
        "--models",
        metavar="LIST",
        default="core",
        help="names, globs or ids of models, comma-separated, or 'all' (default: core: alexnet, vgg16, resnet18, "
        "googlenet)",
    )
    group.addoption(
        "--expected",
        metavar="FILE",
        type=Path,
        help="file of expected accuracies (default: expected_accuracy.yaml of the project)",
    )
    group.addoption(
        "--device", metavar="DEVICE", default="auto", help="auto, cpu, cuda or cuda:N (default: %(default)s)"
    )
    group.addoption(
        "--precision",
        metavar="LIST",
        default="fp32",
        help=f"precisions, comma-separated: {', '.join(PRECISIONS)} (default: %(default)s)",
    )
    group.addoption(
        "--memory-format",
        metavar="LIST",
        default=CHANNELS_LAST,
        help=f"memory formats, comma-separated: {', '.join(MEMORY_FORMATS)} (default: %(default)s)",
    )
    group.addoption(
        "--compile",
        action="store_true",
        help="run each model compiled by torch.compile as well (default: eager only)",
    )
    group.addoption(
        "--batch-size",
        metavar="N",
        type=positive,
        help="images in a forward call of the gate, halved when memory runs out (default: 256 on CUDA, 32 on a CPU)",
    )
    group.addoption(
        "--batch-sizes",
        metavar="LIST",
        type=positives,
        help="batch sizes to time, comma-separated (default: 1,256 on CUDA, 1,32 on a CPU)",
    )
    group.addoption(
        "--limit",
        metavar="N",
        type=positive,
        help="evaluate a fixed, class-balanced subset of N images (default: all)",
    )
    group.addoption(
        "--workers",
        metavar="N",
        type=positive,
        help=f"decoding processes (default: one for each CPU core that may be used, {available_cores()} here, shared "
        "out among the workers of -n)",
    )
    group.addoption(
        "--decoder",
        metavar="DECODER",
        choices=DECODERS,
        default=DECODERS[0],
        help="pillow (what the published values used), torchvision or nvjpeg (default: %(default)s)",
    )
    group.addoption(
        "--store",
        metavar="DIR",
        type=folder,
        default=os.environ.get("IMAGENET_STORE") or None,
        help="folder that keeps decoded images from run to run (default: $IMAGENET_STORE, else the user's cache)",
    )
    group.addoption(
        "--no-store", action="store_true", help="keep no decoded images; hold one geometry at a time in $TMPDIR"
    )
    group.addoption(
        "--rank-timeout",
        metavar="SECONDS",
        type=positive,
        default=600,
        help="under torchrun: how long the processes wait for each other before the run ends (default: %(default)s)",
    )
    group.addoption(
        "--results",
        metavar="DIR",
        type=folder,
        help="folder for the run, to be compared later: record.json and each image's answers; an earlier run there is "
        "replaced (default: none)",
    )
    group.addoption(
        "--baseline",
        metavar="DIR",
        type=folder,
        help="folder of an earlier run to pair with, image by image (default: none; for the embedded split the "
        "project's own)",
    )
    group.addoption(
        "--baseline-update",
        action="store_true",
        help="make this run the baseline: pair with what --baseline holds, show what changed, and replace it",
    )
    group.addoption(
        "--baseline-accept-failed",
        action="store_true",
        help="let --baseline-update store a run that failed the check against the published values",
    )
    group.addoption(
        "--strict-drift",
        action="store_true",
        help="fail also where logits moved beyond arithmetic, or images differ, while no answer changed",
    )


def read_options(config: pytest.Config, place: Place) -> Options:
    """Return them, as they are for one of several processes.

    Raises:
        ExpectedError: a name in a list is not known.
        ResultsError: options that do not go together.
    """
    precisions = _known(config, "precision", tuple(PRECISIONS))
    memory_formats = _known(config, "memory_format", tuple(MEMORY_FORMATS))
    store = None if config.getoption("no_store") else Path(config.getoption("store") or default_store())
    compiled = (False, True) if config.getoption("compile") else (False,)
    return Options(
        imagenet=config.getoption("imagenet"),
        models=_listed(config.getoption("models")),
        expected=config.getoption("expected") or config.rootpath / DEFAULT_FILE,
        device=config.getoption("device"),
        settings=tuple(Setting(*combined) for combined in product(precisions, memory_formats, compiled)),
        batch_size=config.getoption("batch_size"),
        batch_sizes=config.getoption("batch_sizes"),
        limit=config.getoption("limit"),
        decoder=config.getoption("decoder"),
        workers=config.getoption("workers") or decoding_processes(available_cores(), place, keeps=store is not None),
        store=store,
        results=config.getoption("results"),
        baseline=_baseline(config),
    )


def decoding_processes(cores: int, place: Place, *, keeps: bool) -> int:
    """Return how many decode for this process where nobody says: its part of the cores, or all of them.

    Ranks that keep what is decoded want one geometry at a time, which one of them decodes while the others wait.

    >>> workers, ranks = Place(local_world=2), Place(world=2, local_world=2)
    >>> [decoding_processes(8, place, keeps=keeps) for place in (workers, ranks) for keeps in (True, False)]
    [4, 4, 8, 4]
    """
    return cores if keeps and place.world > 1 else max(1, cores // place.local_world)


def _baseline(config: pytest.Config) -> BaselineOptions | None:
    path, updating = config.getoption("baseline"), config.getoption("baseline_update")
    accept_failed, strict = config.getoption("baseline_accept_failed"), config.getoption("strict_drift")
    if updating and path is None:
        raise ResultsError("--baseline-update needs --baseline DIR: the folder to write")
    if updating and config.getoption("results") is not None:
        raise ResultsError("--baseline-update writes the run to --baseline: leave out --results")
    if accept_failed and not updating:
        raise ResultsError("--baseline-accept-failed was given without --baseline-update, which it is for")
    if updating and strict:
        raise ResultsError("--strict-drift and --baseline-update exclude each other: what is replaced cannot fail")
    if path is not None and not updating and _same(path, config.getoption("results")):
        raise ResultsError("--results would replace the baseline: name another folder, or give --baseline-update")
    if path is None and config.getoption("imagenet") == EMBEDDED:
        path = EMBEDDED_BASELINE
    if path is None and strict:
        raise ResultsError("--strict-drift needs --baseline DIR: logits drift from an earlier run")
    return path and BaselineOptions(path, strict=strict, updating=updating, accept_failed=accept_failed)


def _same(one: Path, other: Path | None) -> bool:
    return other is not None and one.resolve() == other.resolve()


def _known(config: pytest.Config, option: str, names: tuple[str, ...]) -> tuple[str, ...]:
    listed = _listed(config.getoption(option))
    if unknown := [name for name in listed if name not in names]:
        raise ExpectedError(f"--{option.replace('_', '-')}: {unknown[0]!r} is not one of {', '.join(names)}")
    return listed


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())
