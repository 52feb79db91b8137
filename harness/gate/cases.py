"""Which cases a run has: models by name, glob or id, times settings; stable ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase

from harness.errors import ExpectedError
from harness.evaluation.setting import Setting
from harness.gate.expected import Entry

CORE = ("alexnet-IMAGENET1K_V1", "vgg16-IMAGENET1K_V1", "resnet18-IMAGENET1K_V1", "googlenet-IMAGENET1K_V1")


@dataclass(frozen=True)
class Case:
    """One model in one setting: what one test evaluates."""

    entry: Entry
    setting: Setting

    def __str__(self) -> str:
        return f"{self.entry.spec}-{self.setting}"


@dataclass(frozen=True)
class Workload:
    """One model in one setting on batches of one size: what one test times."""

    entry: Entry
    setting: Setting
    batch_size: int

    def __str__(self) -> str:
        return f"{self.entry.spec}-{self.setting}-b{self.batch_size}"


def select_cases(
    entries: Sequence[Entry], wanted: Sequence[str], settings: Sequence[Setting], *, embedded: bool
) -> tuple[Case, ...]:
    """Return the cases that ``wanted`` names, in the order of the file, each once.

    Args:
        entries: the file's.
        wanted: names, globs or ids of models, or the words ``core`` and ``all``.
        settings: of the forward pass.
        embedded: whether the embedded split is evaluated, which has models of its own.

    Raises:
        ExpectedError: a name that matches nothing, with the nearest that would.
    """
    candidates = [entry for entry in entries if _is_for(entry, embedded=embedded)]
    chosen = {str(entry.spec) for name in wanted for entry in _matching(candidates, name, embedded=embedded)}
    cases = [
        Case(entry, setting) for entry in candidates if str(entry.spec) in chosen for setting in dict.fromkeys(settings)
    ]
    if not cases:
        raise ExpectedError(f"--models and --precision select nothing among {len(candidates)} models")
    return tuple(cases)


def _is_for(entry: Entry, *, embedded: bool) -> bool:
    """Tell whether the entry can be evaluated on the embedded split, or on others; its weights are for one of them."""
    return "embedded" in entry.splits if embedded else entry.splits != ("embedded",)


def _matching(candidates: Sequence[Entry], wanted: str, *, embedded: bool) -> list[Entry]:
    if wanted == "all":
        return list(candidates)
    if wanted == "core":
        core = [entry for entry in candidates if str(entry.spec) in CORE]
        # A team's own file need not hold the four: its core is what it lists.
        return core if len(core) == len(CORE) else list(candidates)
    pattern = wanted.lower()
    matching = [entry for entry in candidates if any(fnmatchcase(name.lower(), pattern) for name in _names(entry))]
    if not matching:
        names = {name.lower(): name for entry in candidates for name in _names(entry)}
        nearest = get_close_matches(pattern, sorted(names), n=1)
        hint = f"nearest: {names[nearest[0]]!r}" if nearest else "--models all --collect-only -q lists them"
        where = "with weights for the embedded split" if embedded else "in the file of expected values"
        raise ExpectedError(f"--models: {wanted!r} matches no model {where} ({hint})")
    return matching


def _names(entry: Entry) -> tuple[str, str]:
    return entry.spec.model, str(entry.spec)
