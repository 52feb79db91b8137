"""The processes that torchrun started: they bring their parts together, and what fails on one fails on all."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar, cast

import msgspec
import numpy as np
import torch
import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

from harness.errors import EvaluationError, HarnessError, RanksError
from harness.options import Process
from harness.predictions import Predictions, concatenate
from harness.records.evidence import Counts
from harness.records.results import CaseResult

if TYPE_CHECKING:
    from harness.evaluator import Evaluator

_COMPARED = ("models", "precision", "memory_format", "compile", "batch_size", "decoder", "keyword", "maxfail")
_SOFTWARE = ("torch", "torchvision", "numpy", "pillow", "libjpeg_turbo", "cuda", "cudnn", "device")
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class _Part:
    """What a rank brings: a description, the value or why there is none, and the machine's name."""

    what: str
    value: Any = None
    problem: str = ""
    host: str = field(default_factory=socket.gethostname)


class Ranks:
    """This rank and the others, which meet by Gloo: everything that they exchange is on the host."""

    def __init__(self, process: Process, timeout: float) -> None:
        """Meet the others; here and later, a RanksError is raised if they do not come within ``timeout`` seconds."""
        self.process = process
        self._timeout = timeout
        self._store: Any = None
        self._meetings = 0

        def connect() -> None:
            limit = timedelta(seconds=timeout)
            self._store, rank, size = next(iter(rendezvous("env://", timeout=limit)))
            dist.init_process_group("gloo", store=self._store, rank=rank, world_size=size, timeout=limit)

        self._meet("join", connect)

    def agree(self, facts: Mapping[str, str]) -> None:
        """Raise a RanksError unless all ranks were started alike, by facts about each of them."""
        first, *others = self.gather("what it was started with", lambda: facts)
        for rank, other in enumerate(others, start=1):
            for name, value in first.items():
                if other.get(name) != value:
                    raise RanksError(
                        f"rank {rank} was not started like rank 0: {name} is {other.get(name)!r} there, and {value!r} "
                        "on rank 0; start all ranks with the same command, in the same environment"
                    )

    def gather(self, what: str, make: Callable[[], _Result]) -> list[_Result]:
        """Return the values that ``make`` returned on each rank, in their order; ``what`` is their name on all ranks.

        Raises:
            HarnessError: it failed here or on another rank.
            RanksError: a rank has died, hangs, or does something else.
        """
        try:
            mine = _Part(what, make())
        except HarnessError as error:
            mine = _Part(what, problem=str(error))
        except Exception as error:  # the other ranks must not wait for a rank that has a bug
            self._exchange(what, _Part(what, problem=f"{type(error).__name__}: {error}"))
            raise
        parts = self._exchange(what, mine)
        for rank, part in enumerate(parts):
            if part.what != what:
                raise RanksError(
                    f"rank {rank} ({part.host}) sent {part.what}, and rank {self.process.rank} {what}; start all "
                    "ranks with the same command"
                )
        problems = {rank: part.problem for rank, part in enumerate(parts) if part.problem}
        if len(problems) == len(parts) and len(set(problems.values())) == 1:
            raise EvaluationError(problems[0])
        if problems:
            rank = min(problems)
            raise EvaluationError(f"rank {rank} of {len(parts)} ({parts[rank].host}): {problems[rank]}")
        return [part.value for part in parts]

    def from_first(self, what: str, make: Callable[[], _Result]) -> _Result:
        """Return the value that ``make`` returned on rank 0, the only one that calls it; see ``gather``."""
        return cast(_Result, self.gather(what, make if self.process.rank == 0 else lambda: None)[0])

    def outlast_the_first(self) -> None:
        """Wait until rank 0 has ended: it has results to write, and torchrun ends all once another rank has failed."""
        with suppress(RanksError):  # nothing comes but the end of the connection
            self._meet("end", lambda: dist.recv(torch.empty(1), src=0))

    def _exchange(self, what: str, mine: _Part) -> list[_Part]:
        def bring() -> list[_Part]:
            parts: list[Any] = [None] * self.process.world_size
            # The barrier first: unlike the gathering, it ends for every rank as soon as one is missing.
            dist.monitored_barrier(timeout=timedelta(seconds=self._timeout), wait_all_ranks=True)
            dist.all_gather_object(parts, mine)
            return parts

        return self._meet(f"bring {what}", bring)

    def _meet(self, purpose: str, call: Callable[[], _Result]) -> _Result:
        """Return the result of a call that waits for other ranks, in a thread, so that a signal can end the wait."""
        result: Future[_Result] = Future()

        def work() -> None:
            try:
                result.set_result(call())
            except Exception as error:  # raised again below, in the thread that waits
                result.set_exception(error)

        started = time.monotonic()
        self._meetings += 1
        if self._store is not None:
            with suppress(RuntimeError):  # the machine that keeps the store may be gone; the call itself will fail then
                self._store.set(self._key(self.process.rank), "arrived")
        threading.Thread(target=work, daemon=True).start()
        try:
            return result.result()
        except RuntimeError as error:
            raise RanksError(self._explained(purpose, time.monotonic() - started)) from error

    def _key(self, rank: int) -> str:
        return f"imagenet-gate/{self._meetings}/{rank}"

    def _explained(self, purpose: str, waited: float) -> str:
        others = [rank for rank in range(self.process.world_size) if rank != self.process.rank]
        missing = others if len(others) == 1 else []
        if not missing:
            with suppress(RuntimeError, AttributeError):  # no store, or its machine is gone
                missing = [rank for rank in others if not self._store.check([self._key(rank)])]
        listed = f"{'rank' if len(missing) == 1 else 'ranks'} {', '.join(map(str, missing))}"
        # Gloo reports a time-out also where a connection was closed.
        if waited >= self._timeout:
            who, what = listed, f"did not {purpose} within {self._timeout:g} s: hanging or ended"
        else:  # one has ended, and others may be on their way
            who, what = listed if len(missing) == 1 else f"one of {listed}", f"ended before it could {purpose}"
        return (
            f"{who if missing else 'another rank'} of {self.process.world_size} {what}. Nothing is judged without all "
            "images; see the output of torchrun, or the rank's last lines, for the reason"
        )


def facts(options: object, evaluator: Evaluator) -> dict[str, str]:
    """Return what the ranks of one run must have in common, by what a user calls it."""
    environment, dataset = evaluator.environment(), evaluator.dataset_facts()
    return {
        **{f"--{name.replace('_', '-')}": str(getattr(options, name)) for name in _COMPARED},
        "the dataset": f"{dataset.name}, {dataset.images:,} images, labels {dataset.digest[:8]}",
        **{name: str(getattr(environment, name)) for name in _SOFTWARE},
    }


def join(parts: Sequence[tuple[CaseResult, Predictions] | None], ids: Sequence[str]) -> tuple[CaseResult, Predictions]:
    """Return the result and predictions of all images, whose sorted ids are ``ids``, whichever process had which.

    A process that had no image brings None. Times are those of the slowest process, since the others wait for it.

    Raises:
        EvaluationError: the processes did not evaluate the same model.
        RuntimeError: an image is missing, was evaluated twice, or is not among ``ids``.
    """
    results, predicted = zip(*(part for part in parts if part is not None), strict=True)
    predictions = concatenate(predicted)
    if not np.array_equal(predictions.ids, np.array(ids)):
        raise RuntimeError(
            f"predictions for {len(predictions):,} images are not those of {len(ids):,} images, each once"
        )
    if len(digests := dict.fromkeys(result.weights_sha256 for result in results)) > 1:
        shown = ", ".join(f"{digest[:16]}..." for digest in digests)
        raise EvaluationError(f"the processes did not load the same model and weights: their sha256 are {shown}")
    slowest = min(results, key=lambda result: result.images_per_second / result.counts.images)
    first = next(result for result, each in zip(results, predicted, strict=True) if each.ids[0] == ids[0])
    correct = {name: sum(getattr(result.counts, name) for result in results) for name in ("images", "top1", "top5")}
    longest = {name: max(getattr(result.seconds, name) for result in results) for name in ("decode", "load", "total")}
    whole = msgspec.structs.replace(
        slowest,
        counts=Counts(**correct),
        batch_size=min(result.batch_size for result in results),
        seconds=msgspec.structs.replace(slowest.seconds, **longest),
        images_per_second=slowest.images_per_second * len(ids) / slowest.counts.images,
        inputs_digest=predictions.inputs_digest,
        first_input=first.first_input,
        notes=tuple(dict.fromkeys(note for result in results for note in result.notes)),
    )
    return whole, predictions
