"""How often ``imagenet-gate ab`` is wrong, and how soon it finds a slowdown: by random numbers, or by recorded runs.

    python -m benchmarks.ab_rule                  # simulated medians
    python -m benchmarks.ab_rule KEPT/*.json      # process medians of runs of the same software, drawn again

Each trial is judged as the command does it: at its looks, by its intervals, until every case is decided.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.ab.rounds import looks
from harness.compare.compare import confidence_of_each
from harness.compare.statistics import ratio_of_pairs, wilson_interval
from harness.records.run_folder import read_run
from harness.records.speed import SpeedTrial
from harness.verdict import FAILED, NOT_JUDGED, judge_trial

Draw = Callable[[np.random.Generator, int, int], NDArray[np.float64]]
"""(random numbers, rounds, cases) -> medians, (2 sides, rounds, cases)."""


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", metavar="RUN", type=Path, nargs="*")
    parser.add_argument("--trials", type=int, default=2_000)
    parser.add_argument("--cases", type=int, default=8, help="of simulated trials")
    options = parser.parse_args()
    draws: dict[str, Draw] = {}
    if options.runs:
        timings = [{timing.id: timing.median for timing in read_run(path).record.timings} for path in options.runs]
        recorded = np.array([[medians[name] for name in timings[0]] for medians in timings])
        draws[f"{len(recorded)} recorded runs"] = lambda rng, rounds, _: recorded[
            rng.integers(len(recorded), size=(2, rounds))
        ]
    else:
        for sigma in (0.005, 0.02, 0.05):
            draws[f"sd {100 * sigma:g}%"] = partial(_steady, sigma=sigma)
        draws["sd 2%, drift 20%"] = _drifting
        draws["sd 2%, a tenth of runs 30% slower"] = _disturbed
    print(f"{'medians':38} slower  limit  rounds   failed in (95%)         of cases  median rounds  not decided")
    for name, draw in draws.items():
        for slower, limit in ((0.0, 0.0), (0.0, 0.05), (0.05, 0.02), (0.10, 0.05)):
            for rounds in (10, 20):
                print(f"{name:38} {100 * slower:4g}% {100 * limit:4g}% {rounds:7}", end="   ")
                _print(draw, slower, limit, rounds, options)


def _print(draw: Draw, slower: float, limit: float, rounds: int, options: argparse.Namespace) -> None:
    rng, failed, cases, ended, undecided = np.random.default_rng(1), 0, [], [], 0
    for _ in range(options.trials):
        old, new = draw(rng, rounds, options.cases)
        outcomes, at = _judged(old, new * (1 + slower), limit)
        failed += FAILED in outcomes
        cases += [outcome == FAILED for outcome in outcomes]
        undecided += NOT_JUDGED in outcomes
        ended.append(at)
    low, high = wilson_interval(failed, options.trials)
    shares = f"{100 * failed / options.trials:6.2f}% ({low:.2f} to {high:.2f})"
    print(f"{shares:24} {100 * np.mean(cases):6.1f}%  {np.median(ended):13g}  {100 * undecided / options.trials:9.1f}%")


def _judged(old: NDArray[np.float64], new: NDArray[np.float64], limit: float) -> tuple[list[str], int]:
    """Return the outcome of each case, and after how many rounds all are decided, or there are no more."""
    rounds, cases = old.shape
    at = looks(rounds)
    confidence = 1 - (1 - confidence_of_each(cases)) / len(at)
    for look in at:
        ratios = [ratio_of_pairs(list(new[:look, case]), list(old[:look, case]), confidence) for case in range(cases)]
        outcomes = [judge_trial(SpeedTrial(look, *ratio), limit).outcome for ratio in ratios]
        if NOT_JUDGED not in outcomes:
            break
    return outcomes, look


def _steady(rng: np.random.Generator, rounds: int, cases: int, sigma: float) -> NDArray[np.float64]:
    return rng.lognormal(0, sigma, (2, rounds, cases))


def _drifting(rng: np.random.Generator, rounds: int, cases: int) -> NDArray[np.float64]:
    """Return medians of a machine that becomes slower by 20%, process by process, in the order A B B A."""
    order = np.arange(2 * rounds).reshape(rounds, 2)
    order[1::2] = order[1::2, ::-1]
    return np.asarray((1 + 0.2 * order.T / order.max())[:, :, None] * rng.lognormal(0, 0.02, (2, rounds, cases)))


def _disturbed(rng: np.random.Generator, rounds: int, cases: int) -> NDArray[np.float64]:
    slow = 1 + 0.3 * (rng.random((2, rounds, 1)) < 0.1)
    return np.asarray(slow * rng.lognormal(0, 0.02, (2, rounds, cases)))


if __name__ == "__main__":
    main()
