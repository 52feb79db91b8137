"""``python -m harness plan``: how many images a gate needs to see a regression; imports no torch."""

from __future__ import annotations

import argparse
import math
from typing import TYPE_CHECKING

from harness.gate.power import KINDS, Kind, chance_to_see, images_to_see, paired_images, unpaired_images
from harness.gate.stats import BAND_ALPHA
from harness.reporting.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.commands import Commands

_LIMITS = (10, 100, 1000)


def add(commands: Commands) -> None:
    """Declare the command."""
    command = commands.add_parser(
        "plan",
        help="say how many images a gate needs to see a regression",
        description="Say how many images are needed to see a regression of top-1: against the published value, and "
        "against a baseline by right and wrong answers, by changed answers, and by drifted logits, for changes whose "
        "disagreement was measured on real images.",
    )
    command.add_argument(
        "--regression",
        metavar="POINTS",
        type=_points,
        default=0.001,
        help="net loss of top-1 to be seen (default: 0.1)",
    )
    command.add_argument(
        "--power", metavar="P", type=_probability, default=0.99, help="probability of seeing it (default: %(default)s)"
    )
    command.add_argument(
        "--accuracy", metavar="POINTS", type=_points, default=0.7, help="published top-1 (default: 70)"
    )
    command.add_argument(
        "--tolerance",
        metavar="POINTS",
        type=_points,
        default=0.0005,
        help="tolerance of the published top-1 (default: 0.05)",
    )
    command.set_defaults(run=_plan, usage=command.error)


def _plan(options: argparse.Namespace) -> int:
    regression, power = options.regression, options.power
    if regression > options.accuracy:
        options.usage(f"nothing can lose {100 * regression:g} of {100 * options.accuracy:g} points")
    print(f"To see a loss of {100 * regression:g} points of top-1 with a probability of {power:g}:")
    print()
    images = unpaired_images(regression, options.accuracy, options.tolerance, power)
    needed = "all 50,000 images are too few" if images is None else f"{images:,} of 50,000 images"
    published = f"{100 * options.accuracy:g} points, tolerance {100 * options.tolerance:g}"
    print(f"against the published value ({published}): {needed}")
    print("against a baseline, image by image, for changes as they were measured on 500 real images:")
    print()
    head = ["images needed by", "right and wrong", "a changed answer", "drift"]
    head += [f"drift with {limit}" for limit in _LIMITS]
    rows = [list(_row(kind, regression, power)) for kind in KINDS]
    for line in Table(head, rows, frozenset({0})).lines():
        print(line)
    print()
    print(f"right and wrong: exact McNemar test, p < {BAND_ALPHA:g}; -: the change cannot lose so much")
    print("a changed answer: at least one image with another best class; drift: at least one whose logits moved beyond")
    print("arithmetic, and the chance of that with so many images; both see the change itself, whatever it costs.")
    print("--limit N takes the same N images everywhere.")
    return 0


def _row(kind: Kind, regression: float, power: float) -> Iterator[str]:
    yield kind.name
    if regression > kind.discordant:
        yield "-"
    else:
        images = paired_images(regression, kind.discordant, power)
        yield "> 10,000,000" if images is None else f"{_rounded(images):,}"
    yield f"{images_to_see(kind.changed, power):,}"
    yield f"{images_to_see(kind.drifted, power):,}"
    yield from (f"{chance_to_see(kind.drifted, limit):.2f}" for limit in _LIMITS)


def _rounded(images: int) -> int:
    """Return the number to three digits, as far as the search for it is exact."""
    unit: int = 10 ** max(0, len(str(images)) - 3)
    return math.ceil(images / unit) * unit


def _points(text: str) -> float:
    return _number(text, 100.0, "points between 0 and 100, such as 0.1") / 100


def _probability(text: str) -> float:
    return _number(text, 1.0, "a probability between 0 and 1, such as 0.99")


def _number(text: str, largest: float, expected: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < largest:
        raise argparse.ArgumentTypeError(f"expected {expected}, found {text!r}")
    return value
