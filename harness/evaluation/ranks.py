"""The processes that torchrun started: they bring their parts together, and whatever fails on one fails on all."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from harness.errors import EvaluationError, HarnessError, RanksError
from harness.evaluation.place import Place

_Result = TypeVar("_Result")


@dataclass(frozen=True)
class _Part:
    """What a rank brings: what it is, its value or why there is none, and the machine."""

    what: str
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
        self._meet("join", lambda: dist.init_process_group("gloo", timeout=timedelta(seconds=timeout)))

    def agree(self, facts: Mapping[str, str]) -> None:
        """See that all ranks were started alike.

        Args:
            facts: about this rank, by what they are called in the message.

        Raises:
            RanksError: a fact of another rank is not that of rank 0.
        """
        first, *others = self.gather("what it was started with", lambda: dict(facts))
        for rank, other in enumerate(others, start=1):
            for name, value in first.items():
                if other.get(name) != value:
                    raise RanksError(
                        f"rank {rank} was not started as rank 0 was: {name} is {other.get(name)!r} there, and "
                        f"{value!r} on rank 0; start all ranks with the same command, in the same environment"
                    )

    def gather(self, what: str, make: Callable[[], _Result]) -> list[_Result]:
        """Return what ``make`` returned on each rank, in their order.

        Args:
            what: is brought, the same on each.
            make: makes this rank's part.

        Raises:
            HarnessError: it failed here or on another rank.
            RanksError: a rank has died, hangs, or is doing something else.
        """
        try:
            mine = self._part(what, make())
        except HarnessError as error:
            mine = self._part(what, problem=str(error))
        except Exception as error:
            self._exchange(what, self._part(what, problem=f"{type(error).__name__}: {error}"))
            raise
        parts = self._exchange(what, mine)
        for rank, part in enumerate(parts):
            if part.what != what:
                raise RanksError(
                    f"rank {rank} ({part.host}) brings {part.what}, and rank {self.place.rank} {what}; start all ranks "
                    "with the same command"
                )
        self._raise_problem(parts)
        return [part.value for part in parts]

    def from_first(self, what: str, make: Callable[[], _Result]) -> _Result:
        """Return what ``make`` returned on rank 0, where alone it runs; see ``gather``."""
        value: _Result = self.gather(what, make if self.place.rank == 0 else lambda: None)[0]  # type: ignore[assignment]
        return value

    def outlast_the_first(self) -> None:
        """Wait until rank 0 has ended: it has results to write, and torchrun ends all once another rank has failed."""
        with suppress(RanksError):  # nothing will come but the end of the connection
            self._meet("end", lambda: dist.recv(torch.empty(1), src=0))

    def _part(self, what: str, value: Any = None, problem: str = "") -> _Part:
        return _Part(what, value, problem, socket.gethostname())

    def _raise_problem(self, parts: list[_Part]) -> None:
        problems = {rank: part.problem for rank, part in enumerate(parts) if part.problem}
        if not problems:
            return
        if len(problems) == self.place.world and len(set(problems.values())) == 1:
            raise EvaluationError(problems[0])
        rank, problem = next(iter(problems.items()))
        raise EvaluationError(f"rank {rank} of {self.place.world} ({parts[rank].host}): {problem}")

    def _exchange(self, what: str, mine: _Part) -> list[_Part]:
        parts: list[Any] = [None] * self.place.world

        def bring() -> None:
            # The barrier first: unlike what gathers, it says who is missing.
            dist.monitored_barrier(timeout=timedelta(seconds=self._timeout), wait_all_ranks=True)
            dist.all_gather_object(parts, mine)

        self._meet(f"bring {what}", bring)
        return parts

    def _meet(self, missing: str, call: Callable[[], object]) -> None:
        """Make a call that waits for others, in a thread of its own, so that a signal can end the wait."""
        failure: list[Exception] = []

        def work() -> None:
            try:
                call()
            except Exception as error:
                failure.append(error)

        started = time.monotonic()
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        while thread.is_alive():
            thread.join(timeout=0.1)
        if failure and not isinstance(failure[0], RuntimeError):
            raise failure[0]
        if failure:
            raise RanksError(self._lost(missing, str(failure[0]), time.monotonic() - started)) from failure[0]

    def _lost(self, missing: str, reason: str, waited: float) -> str:
        named = re.search(r"Ranks? ([\d, ]+) failed", reason)
        who = f"rank {named[1].strip()}" if named else "another rank"
        if self.place.world == 2:
            who = f"rank {1 - self.place.rank}"
        # Gloo tells of a time-out also where a connection was closed.
        if waited >= self._timeout:
            what = f"did not {missing} within {self._timeout:g} s: it hangs or has ended"
        else:
            what = f"ended before it could {missing}"
        return (
            f"{who} of {self.place.world} {what}. Nothing is judged without its images; torchrun, or its own last "
            "lines, tell why"
        )
