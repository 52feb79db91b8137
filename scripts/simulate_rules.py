"""How often the gate's rules raise a false alarm and find a fault, on real predictions of ImageNet's 50,000 images.

    python scripts/simulate_rules.py [--predictions FILE] [--draws N] [--power-draws N] [--seed N]

Each draw takes a random subset of N images, makes evidence of it, and asks ``harness.verdict``. Three things judge: the
published values; a *baseline of classes*, which holds neither logits nor pixels; and a *full baseline*, which holds
both. The file has the top-5 classes of six torchvision models (counted from the ImageNetV2 study's predictions), and no
logits; so changes are beyond noise for a full baseline, as a changed pixel or weight makes them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.baseline.pairing import NOISE_FLOORS
from harness.compare.statistics import wilson_interval
from harness.records.evidence import ARITHMETIC, Counts, Diagnosis, Drift, Expected, Pairing
from harness.stats import binomial_tail
from harness.verdict import FAILED, NOT_JUDGED, UNKNOWN_INPUTS, judge

PREDICTIONS = Path(__file__).parents[2] / "shared" / "reference" / "ilsvrc2012_val_top5_predictions.npz"
SIZES = (100, 1_000, 10_000, 50_000)
TOLERANCE = Decimal("0.05")
CHECKS = ("published top-1", "published top-5", "baseline of classes", "full baseline")
TOP1, TOP5, CLASSES, FULL = CHECKS
OUTSIDE = 5  # rank of a target that is not among the five highest

Ranks = NDArray[np.int64]
Mask = NDArray[np.bool_]


class Model(NamedTuple):
    """The real predictions of one model."""

    ranks: Ranks  # (N,) rank of each image's target, from 0; 5 if it is not among the five highest
    targets: NDArray[np.int16]  # (N,) class indices


class Draw(NamedTuple):
    """What a fault makes of all images."""

    ranks: Ranks  # (N,) rank of each image's target with the fault
    changed: Mask  # (N,) whether the top-1 prediction differs
    top5_changed: Mask  # (N,) whether the set of five differs
    near_ties: bool = False  # whether arithmetic alone may explain the changes


Fault = Callable[[Model, np.random.Generator], Draw]


def exchanged(model: Model, hit: Mask) -> Draw:
    """Exchange the two highest classes of some images."""
    ranks = np.where(hit & (model.ranks < 2), 1 - model.ranks, model.ranks)
    return Draw(ranks, hit, np.zeros_like(hit))


def random_images(share: float) -> Fault:
    """Exchange the two highest classes of a random share of the images."""
    return lambda model, rng: exchanged(model, rng.random(len(model.ranks)) < share)


def zero_mean(share: float, near_ties: bool = False) -> Fault:
    """Exchange the two highest classes of a share of the images: each is lost or gained with the same probability."""

    def fault(model: Model, rng: np.random.Generator) -> Draw:
        hit = np.zeros(len(model.ranks), np.bool_)
        number = rng.binomial(len(hit), share)
        lost = rng.binomial(number, 0.5)
        for rank, images in ((0, lost), (1, number - lost)):
            candidates = np.flatnonzero(model.ranks == rank)
            hit[rng.choice(candidates, min(images, len(candidates)), replace=False)] = True
        return exchanged(model, hit)._replace(near_ties=near_ties)

    return fault


def one_class(model: Model, rng: np.random.Generator) -> Draw:
    """Exchange the two highest classes of all images of one class."""
    return exchanged(model, model.targets == rng.choice(model.targets))


def one_direction(share: float, rank: int = 0) -> Fault:
    """Let a share of the images lose their target, which is at this rank, from the five highest classes."""

    def fault(model: Model, rng: np.random.Generator) -> Draw:
        candidates = np.flatnonzero(model.ranks == rank)
        hit = np.zeros(len(model.ranks), np.bool_)
        hit[rng.choice(candidates, min(round(share * len(hit)), len(candidates)), replace=False)] = True
        return Draw(np.where(hit, OUTSIDE, model.ranks), hit if rank == 0 else np.zeros_like(hit), hit)

    return fault


FAULTS: dict[str, Fault] = {
    "1% of the images, at random": random_images(0.01),
    "2% of the images, lost or gained alike": zero_mean(0.02),
    "6% of the images, lost or gained alike": zero_mean(0.06),
    "one class of 1,000": one_class,
    "0.2% of the images lose their top-1 and top-5": one_direction(0.002),
    "0.2% of the images lose their rank five": one_direction(0.002, rank=4),
}
SOUND: dict[str, tuple[Fault, tuple[str, ...]]] = {
    "nothing": (random_images(0.0), (TOP1, TOP5, FULL)),
    "10% of the images, lost or gained alike": (zero_mean(UNKNOWN_INPUTS), (CLASSES,)),
    "2 in 10,000 images, near-ties": (zero_mean(NOISE_FLOORS["fp32"].changed, near_ties=True), (FULL,)),
}
"""What must not fail, as much of it as the rules allow, and the checks that it concerns."""


def outcomes_of(model: Model, draw: Draw, images: int, rng: np.random.Generator) -> dict[str, str]:
    """Return the outcome of each check on a random subset."""
    total = len(model.ranks)
    sample = rng.permutation(total)[:images]
    before, after = model.ranks[sample], draw.ranks[sample]
    expected = Expected(_counts(model.ranks), TOLERANCE)
    found: dict[str, str] = {}
    for name, full in ((CLASSES, False), (FULL, True)):
        changed = int(draw.changed[sample].sum())
        evidence = Pairing(
            against="",
            images=images,
            changed=changed,
            near_ties=changed if draw.near_ties else 0,
            top5_changed=int(draw.top5_changed[sample].sum()),
            lost=int(((before == 0) & (after > 0)).sum()),
            gained=int(((before > 0) & (after == 0)).sum()),
            largest_margin=None,
            drift=Drift(0.0, 0.0, 0.0) if full else None,
            noise_floor=NOISE_FLOORS["fp32"],
            diagnosis=Diagnosis(ARITHMETIC, ""),
            inputs_known=full,
            top5_near_ties=0,
            top5_lost=int(((before < OUTSIDE) & (after == OUTSIDE)).sum()),
            top5_gained=int(((before == OUTSIDE) & (after < OUTSIDE)).sum()),
        )
        top1, top5, baseline = judge(_counts(after), expected, "", evidence).checks
        found |= {TOP1: top1.outcome, TOP5: top5.outcome, name: baseline.outcome}
    return found


def _counts(ranks: Ranks) -> Counts:
    return Counts(len(ranks), int((ranks == 0).sum()), int((ranks < OUTSIDE).sum()))


def rows(
    models: Mapping[str, Model],
    faults: Mapping[str, tuple[Fault, tuple[str, ...]]],
    draws: int,
    rng: np.random.Generator,
) -> Iterator[str]:
    """Yield a Markdown row for each fault and check: percent of failures and the 95% interval, by number of images."""
    for fault, (make, checks) in faults.items():
        found: dict[str, list[str]] = {}
        for images in SIZES:
            outcomes = []
            for number in range(draws):
                model = list(models.values())[number % len(models)]
                outcomes.append(outcomes_of(model, make(model, rng), images, rng))
            for name in checks:
                judged = [outcome[name] for outcome in outcomes if outcome[name] != NOT_JUDGED]
                found.setdefault(name, []).append(_share(judged.count(FAILED), len(judged)) if judged else NOT_JUDGED)
        for name, cells in found.items():
            yield f"| {fault} | {name} | {' | '.join(cells)} |"


def _share(found: int, draws: int) -> str:
    low, high = wilson_interval(found, draws)
    return f"{100 * found / draws:.3g} ({round(low, 4):.3g} to {high:.3g})"


def two_models(models: Mapping[str, Model], top1: Mapping[str, NDArray[np.int16]]) -> Iterator[str]:
    """Yield a Markdown row for each two models: how many of their predictions differ, and whether that alone fails."""
    for one, other in combinations(models, 2):
        differ = top1[one] != top1[other]
        for images in SIZES[:3]:
            part = int(np.random.default_rng(0).permutation(differ)[:images].sum())
            if images == SIZES[0]:
                cells = [f"{differ.mean():.3f}"]
            cells.append(f"{binomial_tail(part, images, UNKNOWN_INPUTS):.1e}")
        yield f"| {one}, {other} | {' | '.join(cells)} |"


def main(arguments: list[str] | None = None) -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--predictions", type=Path, default=PREDICTIONS, metavar="FILE", help="the real predictions")
    parser.add_argument("--draws", type=int, default=10_000, metavar="N", help="for false alarms (%(default)s)")
    parser.add_argument("--power-draws", type=int, default=600, metavar="N", help="for each fault (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the draws (%(default)s)")
    options = parser.parse_args(arguments)
    if not options.predictions.exists():
        print(f"{options.predictions}: expected the file of real predictions, found nothing; nothing was simulated")
        return 0
    with np.load(options.predictions) as stored:
        targets, top = stored["label"], {name: stored[name] for name in stored.files if name != "label"}
    models = {name: Model(_ranks(found, targets), targets) for name, found in top.items()}
    rng = np.random.default_rng(options.seed)
    head = [f"| {' | '.join(f'{images:,}' for images in SIZES)} |", f"{'| --- ' * (len(SIZES) + 2)}|"]
    for title, faults, draws in (
        ("False alarms", SOUND, options.draws),
        ("Faults that are found", {name: (fault, CHECKS) for name, fault in FAULTS.items()}, options.power_draws),
    ):
        print(f"{title}: percent of {draws:,} draws that fail (95% interval), by number of images\n")
        print(f"| what changes | check {head[0]}", head[1], *rows(models, faults, draws, rng), "", sep="\n")
    print("Two models: the share of predictions that differ, and the probability of that many among N from", end=" ")
    print("different inputs\n")
    print("| models | differ | N = 100 | 1,000 | 10,000 |", "| --- " * 5 + "|", sep="\n")
    print(*two_models(models, {name: found[:, 0] for name, found in top.items()}), sep="\n")
    return 0


def _ranks(top5: NDArray[np.int16], targets: NDArray[np.int16]) -> Ranks:
    match = top5 == targets[:, None]
    return np.where(match.any(axis=1), match.argmax(axis=1), OUTSIDE)


if __name__ == "__main__":
    sys.exit(main())
