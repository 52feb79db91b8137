"""By how much runs of the same software differ, and how often that is found significant.

    for n in 1 2 3 …; do
      pytest -m throughput --results runs/same-$n
      pytest -p benchmarks.slow_forward -m throughput --models resnet18 --results runs/slow-$n
    done
    python -m benchmarks.run_noise runs/same-* --slow runs/slow-*

Every run is paired with every other one, and with every one into which a slowdown was planted.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import combinations, product
from pathlib import Path

import numpy as np

from harness.compare.compare import compare
from harness.records.run_folder import Run, read_run


def main() -> None:
    """Read the runs and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", metavar="RUN", type=Path, nargs="+")
    parser.add_argument("--slow", metavar="RUN", type=Path, nargs="*", default=[])
    options = parser.parse_args()
    runs, slow = ([read_run(path) for path in paths] for paths in (options.runs, options.slow))

    for name, medians, spread in _by_timing(runs):
        deviation, largest = medians.std(ddof=1) / medians.mean(), medians.max() / medians.min() - 1
        print(f"{name:36} between runs: sd {deviation:5.1%}, largest {largest:5.1%}; within one: IQR {spread:5.1%}")
    for noise in (0.0, 0.03, 0.05, 0.07):
        alarms = [
            any(pair.evidence.is_significant for pair in compare(a, b, noise).of_kind("speed"))
            for a, b in combinations(runs, 2)
        ]
        found = [any(compare(run, slowed, noise).failures(fail_on=("speed",))) for run, slowed in product(runs, slow)]
        planted = f"; the planted slowdown found in {sum(found)} of {len(found)}" if found else ""
        print(f"--noise {noise:.0%}: a false alarm in {sum(alarms)} of {len(alarms)} pairings{planted}")


def _by_timing(runs: Sequence[Run]) -> list[tuple[str, np.ndarray, float]]:
    """Return each timing's id, its median in each run, and the median of its spreads within a run."""
    timings = [{timing.id: timing for timing in run.record.timings} for run in runs]
    return [
        (
            name,
            np.array([run[name].median for run in timings]),
            float(np.median([run[name].spread for run in timings])),
        )
        for name in timings[0]
    ]


if __name__ == "__main__":
    main()
