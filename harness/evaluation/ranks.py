"""The processes that torchrun started: they bring their parts together, and whatever fails on one fails on all."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch.distributed as dist

from harness.errors import EvaluationError, HarnessError, RanksError
from harness.evaluation.place import Place

_Result = TypeVar("_Result")


@dataclass(frozen=True)
class _Part:
    """What a rank brings: where it stands, what it made or why it could not, and on which machine."""

    at: str
    value: Any
    problem: str
    host: str


class Ranks:
    """This rank and the others, which meet by Gloo: all that they exchange lies on the host."""

    def __init__(self, place: Place, timeout: float) -> None:
        """Meet the others.

        Args:
            place: of this process.
            timeout: seconds that a rank waits for the others, here and later.

        Raises:
            RanksError: they do not come.
        """
        self.place = place
        self._timeout = timeout
        self._meet("to start", lambda: dist.init_process_group("gloo", timeout=timedelta(seconds=timeout)))

    def agree(self, facts: Mapping[str, str]) -> None:
        """See that all ranks were started alike.

        Args:
            facts: about this rank, by what they are called in the message.

        Raises:
            RanksError: a fact of another rank is not that of rank 0.
        """
        first, *others = self.gather("the start", lambda: dict(facts))
        for rank, other in enumerate(others, start=1):
            for name, value in first.items():
                if other.get(name) != value:
                    raise RanksError(
                        f"rank {rank} was not started as rank 0 was: {name} is {other.get(name)!r} there, and "
                        f"{value!r} on rank 0; start all ranks with the same command, in the same environment"
                    )

    def gather(self, at: str, make: Callable[[], _Result]) -> list[_Result]:
        """Return what ``make`` returned on each rank, in their order.

        Args:
            at: what all ranks are doing, the same on each.
            make: makes this rank's part.

        Raises:
            HarnessError: it failed here or on another rank.
            RanksError: a rank has died, hangs, or is doing something else.
        """
        try:
            mine = self._part(at, make())
        except HarnessError as error:
            mine = self._part(at, problem=str(error))
        except Exception as error:
            self._exchange(at, self._part(at, problem=f"{type(error).__name__}: {error}"))
            raise
        parts = self._exchange(at, mine)
        for rank, part in enumerate(parts):
            if part.at != at:
                raise RanksError(
                    f"rank {rank} ({part.host}) is at {part.at}, rank {self.place.rank} at {at}; start all ranks with "
                    "the same command"
                )
        self._raise_problem(parts)
        return [part.value for part in parts]

    def from_first(self, at: str, make: Callable[[], _Result]) -> _Result:
        """Return what ``make`` returned on rank 0, where alone it runs; see ``gather``."""
        value: _Result = self.gather(at, make if self.place.rank == 0 else lambda: None)[0]  # type: ignore[assignment]
        return value

    def _part(self, at: str, value: Any = None, problem: str = "") -> _Part:
        return _Part(at, value, problem, socket.gethostname())

    def _raise_problem(self, parts: list[_Part]) -> None:
        problems = {rank: part.problem for rank, part in enumerate(parts) if part.problem}
        if not problems:
            return
        if len(problems) == self.place.world and len(set(problems.values())) == 1:
            raise EvaluationError(problems[0])
        rank, problem = next(iter(problems.items()))
        raise EvaluationError(f"rank {rank} of {self.place.world} ({parts[rank].host}): {problem}")

    def _exchange(self, at: str, mine: _Part) -> list[_Part]:
        parts: list[Any] = [None] * self.place.world

        def bring() -> None:
            # The barrier first: unlike what gathers, it says who is missing.
            dist.monitored_barrier(timeout=timedelta(seconds=self._timeout), wait_all_ranks=True)
            dist.all_gather_object(parts, mine)

        self._meet(f"at {at}", bring)
        return parts

    def _meet(self, when: str, call: Callable[[], object]) -> None:
        """Make a call that waits for others, in a thread of its own, so that a signal can end the wait."""
        failure: list[RuntimeError] = []

        def work() -> None:
            try:
                call()
            except RuntimeError as error:
                failure.append(error)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        while thread.is_alive():
            thread.join(timeout=0.1)
        if failure:
            raise RanksError(self._lost(when, str(failure[0]))) from failure[0]

    def _lost(self, when: str, reason: str) -> str:
        missing = re.search(r"Ranks? ([\d, ]+) failed", reason)
        who = f"rank {missing[1].strip()}" if missing else "another rank"
        return (
            f"{who} of {self.place.world} did not come {when} within {self._timeout:g} s: it has ended, hangs, or "
            "cannot be reached. Nothing is judged without its images. torchrun, or its own last lines, tell why"
        )
