"""Which models there are, what each should score, and which of them a run evaluates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path

from harness.dataset import SYNTHETIC
from harness.errors import ExpectedError
from harness.precision import DEFAULT, Setting
from harness.preset import Preset
from harness.records.evidence import Expected

DEFAULT_FILE = Path("expected_accuracy.yaml")
CORE = ("alexnet-IMAGENET1K_V1", "vgg16-IMAGENET1K_V1", "resnet18-IMAGENET1K_V1", "googlenet-IMAGENET1K_V1")


@dataclass(frozen=True)
class ModelSpec:
    """A model and its weights by name."""

    model: str  # torchvision's name, or any name for a model with a builder
    weights: str  # the member of torchvision's weights enum, or any name for a model with a builder
    builder: str | None = None  # module:function that returns the model with its weights; None for torchvision's own
    preset: Preset | None = None  # of a model with a builder; torchvision's weights name theirs

    def __str__(self) -> str:
        return f"{self.model}-{self.weights}"


@dataclass(frozen=True)
class Entry:
    """A model and what it should score."""

    spec: ModelSpec
    # By dataset name and precision; precisions that are not named use fp32's.
    expected: Mapping[str, Mapping[str, Expected]] = field(default_factory=dict, hash=False)
    where: str = field(default="", compare=False)  # file and key of the entry, for messages

    def expected_on(self, dataset: str, precision: str = "fp32") -> Expected | None:
        """Return what is expected on the dataset of that name; None if nothing is."""
        values = self.expected.get(dataset)
        return None if values is None else values.get(precision, values["fp32"])


@dataclass(frozen=True)
class Case:
    """One model in one setting, as one test evaluates it, or times it at one batch size."""

    entry: Entry
    setting: Setting = DEFAULT
    batch_size: int | None = None

    @property
    def spec(self) -> ModelSpec:
        """The model and its weights."""
        return self.entry.spec

    def __str__(self) -> str:
        return f"{self.spec}-{self.setting}{f'-b{self.batch_size}' if self.batch_size else ''}"


def select_cases(
    entries: Sequence[Entry], wanted: Sequence[str], settings: Sequence[Setting], *, synthetic: bool
) -> tuple[Case, ...]:
    """Return a case for each setting of the models that ``wanted`` names, in the order of the file, each once.

    The synthetic dataset has its own models. An ExpectedError says that a name matches nothing, and gives the nearest.
    """
    # Weights are made for the synthetic images or for real ones; an entry may have values for both.
    candidates = [
        entry for entry in entries if (SYNTHETIC in entry.expected if synthetic else set(entry.expected) != {SYNTHETIC})
    ]
    chosen = {str(entry.spec) for name in wanted for entry in _matching(candidates, name, synthetic=synthetic)}
    cases = [Case(entry, setting) for entry in candidates if str(entry.spec) in chosen for setting in settings]
    if not cases:
        raise ExpectedError(f"--models and --precision select nothing among {len(candidates)} models")
    return tuple(cases)


def _matching(candidates: Sequence[Entry], wanted: str, *, synthetic: bool) -> list[Entry]:
    core = [entry for entry in candidates if str(entry.spec) in CORE]
    if wanted == "all" or (wanted == "core" and len(core) < len(CORE)):  # a team's own file need not list the four
        return list(candidates)
    if wanted == "core":
        return core
    named = [(name, entry) for entry in candidates for name in (entry.spec.model, str(entry.spec))]
    matching = [entry for name, entry in named if fnmatchcase(name.lower(), wanted.lower())]
    if not matching and synthetic:
        known = f"{', '.join(entry.spec.model for entry in candidates)}; others need ImageNet: --imagenet DIR"
        raise ExpectedError(f"--models: {wanted!r} matches no model of the synthetic dataset, which has {known}")
    if not matching:
        nearest = get_close_matches(wanted, [name for name, _ in named], n=1)
        hint = f"nearest: {nearest[0]!r}" if nearest else "imagenet-gate list-models lists them"
        raise ExpectedError(f"--models: {wanted!r} matches no model in the file of expected accuracies ({hint})")
    return matching
