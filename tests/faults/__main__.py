"""Plants every fault, runs the gate as a user would, and writes docs/measurements/faults.md.

    python -m tests.faults --imagenet DIR [--keep DIR] [--only TEXT] [--sets real synthetic]
        [--output docs/measurements/faults.md]

DIR is a folder of real images with ImageNet's classes; EfficientNet-Lite0 (extra ``lite``) is evaluated on them, and
the four models on the synthetic dataset. Each run is ``pytest -m imagenet --baseline`` in a process with the fault,
against a baseline that was made without it. With --keep, runs that are in that folder already are not made again.
The exit status is 1 if a fault is not detected or is detected at another stage, if a sound run does not pass, or if
comparing the two run folders gives another outcome than the gate.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.faults.planted import FAULTS, Fault
from tests.faults.report import report, wrong
from tests.faults.runs import REAL, SYNTHETIC, Runner
from tests.faults.sound import SOUND, Sound


def main() -> int:
    """Make the runs, write the page, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--imagenet", type=Path, required=True, metavar="DIR", help="folder of real images")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="folder for the runs; those in it are not made again")
    parser.add_argument("--only", default="", metavar="TEXT", help="only faults and sound runs whose name contains it")
    parser.add_argument("--no-sound", action="store_true", help="leave out the sound runs")
    parser.add_argument("--sets", nargs="+", choices=(REAL, SYNTHETIC), default=(REAL, SYNTHETIC), help="datasets")
    parser.add_argument("--output", type=Path, metavar="FILE", help="the page to write, of both sets (default: none)")
    options = parser.parse_args()
    faults = [fault for fault in FAULTS if options.only in fault.name]
    sound = [variant for variant in SOUND if options.only in variant.name and not options.no_sound]
    runs: list[Fault | Sound] = [*faults, *sound]
    with tempfile.TemporaryDirectory() as temporary:
        runner = Runner(options.imagenet.resolve(), (options.keep or Path(temporary)).resolve())
        for dataset in options.sets:
            for run in runs:
                print(f"{dataset}: {run.name}: {runner.outcomes(run, dataset)}", flush=True)
        lines = [*wrong(runner, runs, options.sets)]
        if options.output is not None:
            options.output.write_text(report(runner, faults, sound))
    for line in lines:
        print(f"WRONG: {line}")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
