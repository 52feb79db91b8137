"""What a session needs before its first test: the split, the device, the folder of the run; opened once."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness.data.workers import warm_up
from harness.early import STARTED_OVER
from harness.errors import HarnessError
from harness.evaluation.place import Place
from harness.gate.cases import Case
from harness.options import Options
from harness.parallel import MISTAKE, place_of, ranks_of
from harness.reporting.baseline import refuse_to_lose
from harness.reporting.run_folder import NewRun
from harness.selection import is_selected
from harness.summary import ACCURACY, STAGING, THROUGHPUT, Summary

if TYPE_CHECKING:
    from harness.bench import Bench
    from harness.run import Run

OPTIONS: pytest.StashKey[Options] = pytest.StashKey()
CASES: pytest.StashKey[tuple[Case, ...]] = pytest.StashKey()
SUMMARY: pytest.StashKey[Summary] = pytest.StashKey()
RUN: pytest.StashKey[Run] = pytest.StashKey()
BENCH: pytest.StashKey[Bench] = pytest.StashKey()
ORDER: pytest.StashKey[dict[str, int]] = pytest.StashKey()
# What a run depends on beside its command; torchrun sets the threads itself.
_HEARD = ("IMAGENET_DIR", "OMP_NUM_THREADS", "PYTEST_ADDOPTS")


def open_session(config: pytest.Config, stack: ExitStack) -> None:
    """Open what the session needs; the stack closes it.

    Raises:
        HarnessError: something cannot be opened, or the options are wrong.
    """
    if MISTAKE in config.stash:
        raise HarnessError(config.stash[MISTAKE])
    summary, options = config.stash[SUMMARY], config.stash[OPTIONS]
    summary.command = command_of(config.invocation_params.args, place_of(config), os.environ)
    staging: Path | None = None
    if hasattr(config, "workerinput"):
        staging = Path(config.workerinput[STAGING]) if config.workerinput[STAGING] else None
    elif place_of(config).rank > 0:
        options = config.stash[OPTIONS] = replace(options, baseline=None)  # the first rank's affair
    elif options.baseline and options.baseline.updating:
        refuse_to_lose(options.baseline.path, [str(case) for case in config.stash[CASES]])
        summary.updates = options.baseline
        summary.new_run = NewRun(options.baseline.path, "--baseline")
    elif options.results is not None:
        summary.new_run = NewRun(options.results, "--results")
    if summary.new_run is not None:
        stack.callback(summary.new_run.discard)
        staging = summary.new_run.staging
    if is_selected(config, THROUGHPUT):
        from harness.bench import Bench

        config.stash[BENCH] = Bench(options.device, options.precisions)
        summary.environment = config.stash[BENCH].environment()
    if is_selected(config, ACCURACY):
        run = config.stash[RUN] = stack.enter_context(_open_run(config, staging))
        run.refuse_damaged_baseline(config.stash[CASES])
        config.stash[ORDER] = run.order(config.stash[CASES])
        summary.environment = run.environment()
        summary.split = run.split_facts()


def command_of(arguments: Sequence[str | os.PathLike[str]], place: Place, environ: Mapping[str, str]) -> str:
    """Return the command that started this run, with what it took from the environment.

    >>> command_of(["-m", "imagenet", "--models", "resnet*"], Place(), {"IMAGENET_DIR": "/data", "HOME": "/root"})
    "IMAGENET_DIR=/data python -m pytest -m imagenet --models 'resnet*'"

    Args:
        arguments: pytest's.
        place: of this process among ranks.
        environ: the process's.
    """
    ranks = place.world > 1
    typed = arguments[len(STARTED_OVER) :] if tuple(arguments[: len(STARTED_OVER)]) == STARTED_OVER else arguments
    heard = [name for name in _HEARD if environ.get(name) and not (ranks and name == "OMP_NUM_THREADS")]
    nodes = f" --nnodes {place.world // place.local_world}" if place.world > place.local_world else ""
    launcher = f"torchrun{nodes} --nproc-per-node {place.local_world}" if ranks else "python"
    variables = "".join(f"{name}={shlex.quote(environ[name])} " for name in heard)
    return f"{variables}{launcher} -m pytest {shlex.join(map(str, typed))}".rstrip()


def facts_of(config: pytest.Config) -> dict[str, str]:
    """Return what the ranks of one run must have in common, by what a user calls it."""
    environment, split = config.stash[RUN].environment(), config.stash[RUN].split_facts()
    options = ("models", "precision", "memory_format", "compile", "batch_size", "decoder", "keyword", "maxfail")
    software = ("torch", "torchvision", "numpy", "pillow", "libjpeg_turbo", "cuda", "cudnn", "device")
    return {
        **{f"--{name.replace('_', '-')}": str(config.getoption(name)) for name in options},
        "the image set": f"{split.name}, {split.images:,} images, labels {split.digest[:8]}",
        **{name: str(getattr(environment, name)) for name in software},
    }


def _open_run(config: pytest.Config, staging: Path | None) -> Run:
    options = config.stash[OPTIONS]
    assert options.imagenet is not None
    warm_up()
    from harness.run import Run

    return Run(
        options.imagenet,
        device=options.device,
        batch_size=options.batch_size,
        limit=options.limit,
        decoder=options.decoder,
        workers=options.workers,
        precisions=options.precisions,
        store=options.store,
        staging=staging,
        baseline=options.baseline,
        place=place_of(config),
        ranks=ranks_of(config),
    )
