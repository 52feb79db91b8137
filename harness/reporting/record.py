"""What a run leaves, as values: its cases and timings, and what they were made on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from harness.reporting.case_record import CaseRecord
from harness.reporting.checked import checked, measured, shown, texts
from harness.reporting.environment import Environment
from harness.reporting.timing_record import TimingRecord

SCHEMA_VERSION = 2
NOT_RUN = "not run"
ERROR = "error"


@dataclass(frozen=True)
class Unmeasured:
    """A case or a timing that was due and has no values: ``outcome`` is ``error`` or ``not run``."""

    id: str
    outcome: str = NOT_RUN
    detail: str = ""


@dataclass(frozen=True)
class SplitFacts:
    """What was evaluated.

    Attributes:
        digest: of all ids and labels.
        images: evaluated.
        total: of the whole split; larger than ``images`` for a subset.
        classes: with images.
        class_names: of all classes, by class index; empty where nothing told.
    """

    name: str
    digest: str
    images: int
    total: int
    classes: int
    class_names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Record:
    """A run.

    Attributes:
        created: date and time, ISO 8601, UTC.
        split: None if no accuracy was due.
        commands: that made it, as they are typed in a shell; empty where nothing told.
    """

    created: str
    environment: Environment
    split: SplitFacts | None
    cases: tuple[CaseRecord | Unmeasured, ...]
    timings: tuple[TimingRecord | Unmeasured, ...]
    commands: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return plain values, for JSON; images' answers lie elsewhere."""
        return {
            "schema_version": SCHEMA_VERSION,
            "created": self.created,
            "commands": list(self.commands),
            "environment": asdict(self.environment),
            "split": self.split and asdict(self.split),
            "cases": [_without_answers(case) for case in self.cases],
            "timings": [_plain(timing) for timing in self.timings],
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Record:
        """Return the record that ``to_json`` made ``values`` of.

        Raises:
            ValueError: two cases or two timings have one id, or there are cases and no split.
        """
        for results in (values["cases"], values["timings"]):
            ids = [str(result["id"]) for result in results]
            if len(set(ids)) < len(ids):
                raise ValueError(f"two results are called {max(ids, key=ids.count)}")
        if values["cases"] and not values["split"]:
            raise ValueError("cases without a split")
        checked(values, {"created": str, "environment": dict})
        shown(values["environment"], ("torch", "torchvision", "numpy", "pillow", "device", "cpu"))
        return cls(
            created=str(values["created"]),
            environment=Environment(**values["environment"]),
            split=_split_from_json(values["split"]) if values["split"] else None,
            cases=tuple(
                CaseRecord.from_json(case) if "images" in case else Unmeasured(**case) for case in values["cases"]
            ),
            timings=tuple(
                TimingRecord.from_json(timing) if "seconds" in timing else Unmeasured(**timing)
                for timing in values["timings"]
            ),
            commands=texts(values.get("commands", [])),
        )


def _split_from_json(values: dict[str, Any]) -> SplitFacts:
    checked(values, {"name": str, "digest": str, "images": int, "total": int, "classes": int})
    measured(values, {"images": 1, "total": 1, "classes": 1})
    return SplitFacts(**{**values, "class_names": texts(values.get("class_names", []))})


def measured_cases(cases: Sequence[CaseRecord | Unmeasured]) -> list[CaseRecord]:
    """Return those that have values."""
    return [case for case in cases if isinstance(case, CaseRecord)]


def measured_timings(timings: Sequence[TimingRecord | Unmeasured]) -> list[TimingRecord]:
    """Return those that have values."""
    return [timing for timing in timings if isinstance(timing, TimingRecord)]


def unmeasured(results: Sequence[CaseRecord | TimingRecord | Unmeasured]) -> list[Unmeasured]:
    """Return those that have none."""
    return [result for result in results if isinstance(result, Unmeasured)]


def _plain(result: CaseRecord | TimingRecord | Unmeasured) -> dict[str, Any]:
    return asdict(result) if isinstance(result, Unmeasured) else result.to_json()


def _without_answers(case: CaseRecord | Unmeasured) -> dict[str, Any]:
    return {name: value for name, value in _plain(case).items() if name not in ("correct", "best")}
