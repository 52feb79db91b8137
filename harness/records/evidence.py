"""Evidence about a case: what checks return, what results store, and what ``verdict.py`` judges."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from decimal import Decimal
from typing import Annotated, Literal, TypeAlias

import msgspec

from harness.stats import mcnemar

MOST_IMAGES = 20_000_000  # more than any set in use has; the exact tests take seconds for that many
METRICS = {"top1": "top-1", "top5": "top-5"}

Name: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"^[^\x00-\x1f\x7f-\x9f]*\Z")]
"""Text without control characters, which no table or chart could show."""
Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=10**15)]
_Moved: TypeAlias = Annotated[float, msgspec.Meta(ge=0, le=1e300)]
Size: TypeAlias = Annotated[float, msgspec.Meta(ge=0, le=1e15)]


class Counts(msgspec.Struct, frozen=True):
    """Correct predictions among ``images``: the target has the highest logit (top1), or one of the five highest (top5).

    >>> Counts(images=50_000, top1=34_879, top5=44_539).percent("top1")
    69.758
    """

    images: Annotated[int, msgspec.Meta(ge=1, le=MOST_IMAGES)]
    top1: Count
    top5: Count

    def __post_init__(self) -> None:
        if not self.top1 <= self.top5 <= self.images:
            raise ValueError(f"expected top1 <= top5 <= images, found {self.top1}, {self.top5} and {self.images}")

    def correct(self, metric: str) -> int:
        """Return the number of correct predictions by ``top1`` or ``top5``."""
        return {"top1": self.top1, "top5": self.top5}[metric]

    def percent(self, metric: str) -> float:
        """Return the accuracy in percent."""
        return 100 * self.correct(metric) / self.images


class Expected(msgspec.Struct, frozen=True):
    """What a model should score on a whole dataset."""

    counts: Counts  # the published percentages to the nearest image
    tolerance: Decimal  # percentage points, for both metrics and both directions
    # ``published`` by the model's authors, or ``recorded`` by an earlier run of this harness.
    origin: Literal["published", "recorded"] = "published"

    def __post_init__(self) -> None:
        exponent = self.tolerance.as_tuple().exponent  # text for what is not finite
        if not (isinstance(exponent, int) and exponent > -20 and 0 <= self.tolerance <= 100):
            raise ValueError(f"expected a tolerance of 0 to 100 points, found {self.tolerance}")

    @property
    def tolerance_images(self) -> int:
        """The tolerance in whole images."""
        return int(self.tolerance * self.counts.images / 100)


class Bounds(msgspec.Struct, frozen=True):
    """Evidence from an additional check: a value, and the inclusive range that it must lie in."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    detail: str = ""


class NoiseFloor(msgspec.Struct, frozen=True):
    """How far arithmetic alone moves logits and flips predictions, in units of the logit scale."""

    median: Size  # largest drift of the median image
    largest: Size  # largest drift of any of ``images``
    changed: Annotated[float, msgspec.Meta(ge=0, le=1)] = 1.0  # largest share of top-1 predictions that it changes
    images: Count = 0  # number of images it is based on; 0 in records that do not say

    @property
    def margin(self) -> float:
        """The margin below which noise may flip a prediction."""
        return 2 * self.largest


class Policy(msgspec.Struct, frozen=True):
    """How strictly a comparison with an earlier run is judged."""

    strict_drift: bool = False  # differences that changed no prediction beyond noise fail, whatever explains them
    updating: bool = False  # whether the run will replace the baseline; differences are then shown as warnings
    allow_drift: bool = False  # differences that changed no prediction beyond noise are a warning, if nothing explains
    noise_floors: dict[str, NoiseFloor] = {}  # by precision: those that were measured, in place of the defaults


class Diagnosis(msgspec.Struct, frozen=True):
    """The first stage of the pipeline that differs between two evaluations, and what was found there."""

    stage: str
    finding: str  # what differs, in one sentence
    explained: bool = True  # whether a named difference of environment or command explains it; older records lack it
    cause: str = ""  # what may have caused it; older records have it in the finding
    details: str = ""  # figures and an example

    @property
    def sentence(self) -> str:
        """The finding; in an older record it says nothing without the stage."""
        return self.finding if self.cause else f"{self.stage}: {self.finding}"

    def __str__(self) -> str:
        return f"{self.sentence}; likely cause: {self.cause}" if self.cause else self.sentence


WEIGHTS, LABELS, INPUTS, NORMALIZATION = "weights", "labels", "decoded inputs", "normalization"
ARITHMETIC, COUNTING, IMAGES = "arithmetic", "counting", "set of images"


class Drift(msgspec.Struct, frozen=True):
    """How far the logits of N images moved, in units of the logit scale: median, 99th percentile and maximum."""

    median: _Moved
    p99: _Moved
    largest: _Moved
    beyond: Count = 0  # number of images that drifted further than the noise floor's largest; older records lack it


class ChangedPrediction(msgspec.Struct, frozen=True):
    """An image whose top-1 prediction, or whose set of five highest classes, differs between two runs."""

    id: str
    old: int  # the class predicted in the old run; of a top-5 set the class that left it, the target before others
    new: int  # the class predicted in the new run; of a top-5 set the class that entered it, the target before others
    was_correct: bool  # whether the target was predicted
    is_correct: bool  # whether the target is predicted
    # Lead of the top-1 class over the second, or of the fifth over the sixth, in the old run, in units of the logit
    # scale; in the new run if the old one holds no logits, None if neither does.
    margin: float | None
    near_tie: bool  # whether arithmetic alone may have changed it
    metric: Literal["top1", "top5"] = "top1"
    old_name: str = ""  # name of the class ``old``; empty where it is not known
    new_name: str = ""  # name of the class ``new``; empty where it is not known

    def __str__(self) -> str:
        turn = "" if self.was_correct == self.is_correct else ", now wrong" if self.was_correct else ", now correct"
        margin = "" if self.margin is None else f", margin {self.margin:.1e}"
        top5 = "top-5: " if self.metric == "top5" else ""
        classes = f"{self.old_name or f'class {self.old}'} -> {self.new_name or f'class {self.new}'}"
        return f"{self.id}: {top5}{classes}{turn}{margin}{', near-tie' if self.near_tie else ''}"


class Pairing(msgspec.Struct, frozen=True, tag="paired", tag_field="kind"):
    """Evidence from a comparison with an earlier run, image by image."""

    against: str  # id of the case in the earlier run
    images: Count  # number of images that both runs hold
    changed: Count  # images with a different top-1 prediction
    near_ties: Count  # those of ``changed`` that arithmetic alone may explain
    top5_changed: Count  # images whose five highest classes are not the same five
    lost: Count  # images that were correct and are wrong
    gained: Count  # images that were wrong and are correct
    largest_margin: float | None  # largest margin among the changed; None if there are none, or no logits
    drift: Drift | None  # drift of the logits; None where one of the runs holds none
    noise_floor: NoiseFloor  # the noise floor of the two precisions
    diagnosis: Diagnosis  # the first stage that differs; arithmetic if none before it does
    inputs_known: bool  # whether the earlier run holds the pixels that its model was shown
    environment: tuple[str, ...] = ()  # what changed in the environment, as ``name old -> new``
    examples: tuple[ChangedPrediction, ...] = ()  # a few beyond noise, top-1 before top-5, largest margin first
    policy: Policy = Policy()  # how strictly the comparison is judged
    top5_near_ties: Count | None = None  # those of ``top5_changed`` that arithmetic may explain; None if not known
    top5_lost: Count = 0  # images whose target was among the five highest classes and is not
    top5_gained: Count = 0  # images whose target was not among the five highest classes and is
    close: Count = 0  # images whose top-1 prediction arithmetic may change: their margin is within the noise floor's

    @property
    def beyond_noise(self) -> int:
        """The number of changed predictions that arithmetic alone cannot explain."""
        return self.changed - self.near_ties

    @property
    def p(self) -> float:
        """The p-value of the exact McNemar test on ``lost`` and ``gained``."""
        return mcnemar(self.lost, self.gained)

    @property
    def blind(self) -> str:
        """What the comparison cannot see, in one sentence; empty where the noise floor is too low to matter."""
        if self.close <= self.images / 100:
            return ""
        floor = self.noise_floor
        return (
            f"changes of logits below {floor.largest:.1e} cannot be told from noise here; {self.close:,} of "
            f"{self.images:,} predictions have a margin below {floor.margin:.1e} and could change unnoticed"
        )

    def old_percent(self, metric: str, counts: Counts) -> float:
        """Return the accuracy of the earlier run on the same images, in percent; ``counts`` are of the new run."""
        lost, gained = (self.lost, self.gained) if metric == "top1" else (self.top5_lost, self.top5_gained)
        return 100 * (counts.correct(metric) + lost - gained) / counts.images

    @property
    def effect(self) -> str:
        """How many predictions changed, in one sentence."""
        beyond = f", {self.beyond_noise:,} beyond noise" if self.changed else ""
        found = f"{self.changed:,} of {self.images:,} predictions changed{beyond}{_turned(self.lost, self.gained)}"
        sets = f"; {counted(self.top5_beyond_noise, 'top-5 set')} beyond noise" if self.top5_beyond_noise else ""
        return f"{found}{sets}"

    @property
    def figures(self) -> Iterator[str]:
        """Sentences with the figures behind the verdict."""
        if self.changed:
            margin = "" if self.largest_margin is None else f", largest margin {self.largest_margin:.1e}"
            yield f"top-1: p = {self.p:.2g} by McNemar's exact test{margin}"
        if self.top5_changed or self.top5_lost or self.top5_gained:
            beyond = "" if self.top5_near_ties is None else f", {self.top5_beyond_noise:,} beyond noise"
            turned = _turned(self.top5_lost, self.top5_gained)
            sets = f"{self.top5_changed:,} of {self.images:,} sets changed"
            yield f"top-5: {sets}{beyond}{turned}; p = {self.top5_p:.2g}"
        floor, moved = self.noise_floor, self.drift
        if moved is None:
            yield f"no logits in the baseline: near-ties are margins of this run of up to {floor.margin:.1e}"
        else:
            beyond = f", {counted(moved.beyond, 'image')} beyond it" if moved.beyond else ""
            yield (
                f"logits moved by {moved.median:.1e} (median), {moved.p99:.1e} (99%), {moved.largest:.1e} (largest) "
                f"of the logit scale; noise floor {floor.median:.1e} (median), {floor.largest:.1e} (largest){beyond}"
            )
        if self.blind:
            yield self.blind

    @property
    def top5_beyond_noise(self) -> int:
        """The number of changed top-5 sets that arithmetic alone cannot explain."""
        return 0 if self.top5_near_ties is None else self.top5_changed - self.top5_near_ties

    @property
    def top5_p(self) -> float:
        """The p-value of the exact McNemar test on ``top5_lost`` and ``top5_gained``."""
        return mcnemar(self.top5_lost, self.top5_gained)


def _turned(lost: int, gained: int) -> str:
    return f"; {lost:,} now wrong, {gained:,} now correct" if lost or gained else ""


class Unpaired(msgspec.Struct, frozen=True, tag="unpaired", tag_field="kind"):
    """Evidence that a case could not be compared with an earlier run."""

    # ``missing`` (the earlier run has no such case), ``different`` (another model or other images), ``damaged`` (its
    # files cannot be read), or ``totals`` (one of the runs is a file that holds counts only).
    why: Literal["missing", "different", "damaged", "totals"]
    reason: str  # in one sentence
    old: Counts | None = None  # the earlier run's counts, where only these are known
    policy: Policy = Policy()  # how strictly the comparison is judged


def counted(value: int, noun: str) -> str:
    """Return a number of things, such as ``1 result`` or ``2 results``."""
    return f"{value:,} {noun}{'' if value == 1 else 's'}"


def wrapped(line: str) -> str:
    """Return a line, wrapped to the 80 columns of a terminal, never inside a word."""
    indent = " " * (len(line) - len(line.lstrip()) + 2)
    wrapper = textwrap.TextWrapper(80, "", indent, break_long_words=False, break_on_hyphens=False)
    return wrapper.fill(line.replace(" %", "\u00a0%")).replace("\u00a0%", " %")  # a percentage stays in one line
