"""``imagenet-gate ab``: is one environment as fast as another, by processes of both, alternating; imports no torch."""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from harness.ab.rounds import FEWEST, looks, measured
from harness.cli import PYTEST_OPTIONS, Commands
from harness.cli.compare import add_limits, limits_of, show
from harness.compare.trial import try_speed
from harness.options import positive
from harness.report.comparison import trial_sections
from harness.report.sections import counted
from harness.verdict import NOT_JUDGED


def add(commands: Commands) -> None:
    """Declare the command."""
    command = commands.add_parser(
        "ab",
        usage="%(prog)s OLD_PYTHON NEW_PYTHON [options] [pytest options]",
        help="time two environments alternately, until each case is decided; exit 1 if one is slower",
        description="Run `imagenet-gate run -m throughput` in two environments alternately (A B B A ...), each time in "
        "a new process, and compare the medians pair by pair. It ends as soon as each case is decided: slower by more "
        f"than allowed, or shown not to be. Exit 1 if one is slower, 2 if a process fails. {PYTEST_OPTIONS}",
        allow_abbrev=False,
    )
    for name in ("OLD", "NEW"):
        command.add_argument(f"{name.lower()}_python", metavar=f"{name}_PYTHON", help=f"the {name.lower()} interpreter")
    rounds = f"maximum number of processes per environment, {FEWEST} or more (default: %(default)s)"
    command.add_argument("--rounds", metavar="N", type=positive, default=10, help=rounds)
    add_limits(command)
    keep = "folder to keep the JSON file of each process in, for imagenet-gate compare --old --new (default: none)"
    command.add_argument("--keep", metavar="DIR", type=Path, help=keep)
    command.add_argument("--markdown", metavar="FILE", type=Path, help="write the report to this file too, as Markdown")
    interrupted = "only --keep DIR keeps what was measured"
    command.set_defaults(run=_ab, usage=command.error, takes_more=True, interrupted=interrupted)


def _ab(options: argparse.Namespace) -> int:
    if options.rounds < FEWEST:
        options.usage(f"argument --rounds: expected {FEWEST} or more, found {options.rounds}")
    limits = limits_of(options)
    with tempfile.TemporaryDirectory(prefix="imagenet-gate-ab-") as temporary:
        folder = options.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        started, pythons, at = time.monotonic(), (options.old_python, options.new_python), looks(options.rounds)
        for old, new in measured(pythons, options.more, options.rounds, folder):
            number = len(old)
            said = f"round {number} of at most {options.rounds}, {time.monotonic() - started:,.0f} s"
            if number not in at:
                print(f"{said}: next check after round {min(look for look in at if look > number)}", flush=True)
                continue
            trial = try_speed(old, new, len(at))
            undecided: dict[str, list[str]] = {}
            for tried in trial.timings:
                if tried.evidence.kind in options.fail_on and tried.judged(limits).outcome == NOT_JUDGED:
                    kind = "" if tried.evidence.kind == "speed" else f"{tried.evidence.kind} "
                    undecided.setdefault(tried.id, []).append(f"{kind}{100 * (tried.evidence.ratio - 1):+.1f}%")
            found = ", ".join(f"{identity} ({', '.join(changes)})" for identity, changes in undecided.items())
            which = f": {found}" if undecided else ""
            print(f"{said}: {counted(len(undecided), 'case')} not decided{which}", flush=True)
            if not undecided:
                break
        failures = tuple(trial.failures(options.fail_on, limits, options.strict_speed))
        sections = trial_sections(trial, failures, limits)
    print()
    show(sections, options.markdown)
    return 1 if failures else 0
