"""When a change of speed is found in a series of nights, and how often nothing is taken for one.

    python scripts/simulate_nights.py [--series N] [--seed N]

A night is a median drawn from those that processes measured one after the other, with their noise as it was and scaled
to smaller ones; the 30 nights before a change and the 30 from it on are judged night by night, as imagenet-gate nightly
does: a suspected night is drawn a second time.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.nightly.series import FEWEST, find_slowdown, noise_of

RECORDED = (
    38.5,
    44.0,
    52.8,
    19.4,
    17.7,
    37.0,
    44.3,
    48.0,
    46.7,
    44.0,
    53.3,
    34.1,
    38.4,
    36.6,
    43.0,
    32.2,
    19.0,
    25.9,
    25.3,
    25.5,
    36.7,
    33.7,
    34.1,
    50.4,
    18.5,
    40.5,
    34.7,
    33.4,
    31.3,
    36.9,
    43.9,
    30.4,
    41.8,
    59.5,
    25.2,
    75.1,
    132.7,
    125.0,
    69.9,
    94.9,
    19.0,
    77.9,
    75.4,
    82.2,
    87.8,
    82.6,
    104.0,
    121.0,
    127.8,
    93.8,
    128.6,
    98.8,
    138.3,
    143.3,
    53.1,
    48.9,
    38.2,
    58.4,
    70.6,
    118.8,
)
"""Median ms of a call of AlexNet at batch 1 on one thread, in 60 processes, one after the other, on a busy machine."""
NIGHTS, CHANGE = 60, 30
NOISES = (0.0, 0.03, 0.01)
"""Standard deviations from night to night, as shares; 0 is as recorded."""
_DAYS = np.arange(NIGHTS)
CHANGES = {
    "nothing": np.ones(NIGHTS),
    "one night of 30%": np.where(_DAYS == CHANGE, 1.3, 1.0),
    "a step of 5%": np.where(_DAYS >= CHANGE, 1.05, 1.0),
    "a step of 10%": np.where(_DAYS >= CHANGE, 1.1, 1.0),
    "a creep of 1% a night": 1.01 ** np.clip(_DAYS - CHANGE + 1, 0, None),
    "a creep of 3% a night": 1.03 ** np.clip(_DAYS - CHANGE + 1, 0, None),
}


class Found(NamedTuple):
    """The first red night of a series, and the night that it names as the first that was slower."""

    red: int
    named: int


def first_red(seconds: Sequence[float], again: Sequence[float], max_slowdown: float) -> Found | None:
    """Return the first night that turns red, or None; of a suspected night, timed ``again``, the faster counts."""
    nights: list[float] = []
    for night, (first, second) in enumerate(zip(seconds, again, strict=True)):
        nights.append(first)
        if night + 1 >= FEWEST and find_slowdown(nights, 0, max_slowdown):
            nights[-1] = min(first, second)
            if slowdown := find_slowdown(nights, 0, max_slowdown):
                return Found(night, slowdown.first)
    return None


def draws(noise: float, number: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return (number, NIGHTS) nights without a change."""
    logs = np.log(RECORDED) - np.log(median(RECORDED))
    return np.exp(rng.choice(logs, (number, NIGHTS)) * (noise / noise_of(RECORDED) if noise else 1.0))


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a row for each noise, change and limit."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--series", metavar="N", type=int, default=1000, help="series of nothing (default: %(default)s)"
    )
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="of the draws (default: %(default)s)")
    options = parser.parse_args(arguments)
    rng = np.random.default_rng(options.seed)
    print("| noise | change | limit | red before | found | nights until red, median (90%) | named |")
    print("| --: | :-- | --: | --: | --: | --: | --: |")
    for noise in NOISES:
        for name, factors in CHANGES.items():
            for limit in (0.05, 0.03):
                number = options.series if name == "nothing" else max(1, options.series // 10)
                series = [(draws(noise, number, rng) * factors).tolist() for _ in range(2)]
                found = [first_red(once, again, limit) for once, again in zip(*series, strict=True)]
                print(_row(noise, name, limit, found), flush=True)
    return 0


def _row(noise: float, name: str, limit: float, found: Sequence[Found | None]) -> str:
    after = [one for one in found if one and one.red >= CHANGE] if name != "nothing" else []
    before = sum(one is not None for one in found) - len(after)
    cells = [f"{100 * (noise or noise_of(RECORDED)):.1f}%", name, f"{100 * limit:g}%", f"{before} of {len(found)}"]
    cells.append("-" if name == "nothing" else f"{len(after)} of {len(found)}")
    if after:
        nights = np.quantile([one.red - CHANGE + 1 for one in after], (0.5, 0.9), method="higher")
        named = np.quantile([one.named - CHANGE for one in after], (0.1, 0.5, 0.9), method="nearest")
        cells += [f"{nights[0]} ({nights[1]})", " ".join(f"{one:+d}" for one in named)]
    else:
        cells += ["-", "-"]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(main())
