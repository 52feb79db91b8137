"""Plants every fault, runs the gate as a user would, and writes docs/faults.md.

    python -m tests.faults --imagenet SPLIT [--keep DIR] [--only TEXT] [--output docs/faults.md]

SPLIT is a folder of real images with ImageNet's classes; EfficientNet-Lite0 (extra ``lite``) is evaluated on them,
and the four models on the embedded split. Each run is ``pytest -m imagenet --baseline`` in a patched copy of the
project, against a baseline that the unpatched project has made. With --keep, runs that are in DIR already are not
made again. Exit status 1 if a fault is not caught, is caught with another cause, or a sound run gives an alarm.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.faults.planted import FAULTS
from tests.faults.report import alarms, misses, report
from tests.faults.runs import EMBEDDED, REAL, Runner
from tests.faults.sound import SOUND


def main() -> int:
    """Run what is asked for, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--imagenet", type=Path, required=True, help="folder of real images")
    parser.add_argument("--keep", type=Path, help="folder for the runs, and where earlier ones are looked for")
    parser.add_argument("--only", default="", help="only faults and sound runs whose name holds this text")
    parser.add_argument("--no-sound", action="store_true", help="leave out the sound runs")
    parser.add_argument("--sets", default=f"{REAL},{EMBEDDED}", help="of the image sets (default: %(default)s)")
    parser.add_argument("--output", type=Path, help="the page to write (default: none)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        runner = Runner(options.imagenet.resolve(), (options.keep or Path(temporary)).resolve())
        faults = [fault for fault in FAULTS if options.only in fault.name]
        sound = [variant for variant in SOUND if options.only in variant.name and not options.no_sound]
        for image_set in options.sets.split(","):
            for fault in faults:
                print(f"{image_set}: {fault.name}: {runner.planted(fault, image_set).told()}", flush=True)
            for variant in sound:
                print(f"{image_set}: sound: {variant.name}: {runner.sound(variant, image_set).told()}", flush=True)
        wrong = [*misses(runner, faults, options.sets.split(",")), *alarms(runner, sound, options.sets.split(","))]
        if options.output is not None:
            options.output.write_text(report(runner, faults, sound))
    for line in wrong:
        print(f"WRONG: {line}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
