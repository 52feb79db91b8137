"""``python -m harness compare``: what differs between two runs, and the series of many; imports no torch."""

from __future__ import annotations

import argparse
import math
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

from harness.commands.options import write_markdown
from harness.reporting.compare import FAILURES, MAX_SLOWDOWN, NOISE, compare, refuse_different_splits
from harness.reporting.comparison_text import sections_of, series_sections, verdict_first
from harness.reporting.run_folder import read_run
from harness.reporting.section import Section, as_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.commands import Commands


def add(commands: Commands) -> None:
    """Declare the command."""
    command = commands.add_parser(
        "compare",
        help="say what differs between two runs, or list the series of many; exit 1 if something fails",
        description="Compare two runs: environment, accuracy image by image, speed with an interval. Exit 1 if "
        "something fails, 2 if they cannot be compared. With more than two runs, print what each measured, by case; "
        "nothing fails then.",
    )
    command.add_argument(
        "runs",
        metavar="RUN",
        type=Path,
        nargs="+",
        help="OLD and NEW: folders of --results, or files of --benchmark-json; more than two give a series",
    )
    add_judging_options(command)
    command.add_argument(
        "--markdown", metavar="FILE", type=Path, help="write the report to this file too, as Markdown (default: none)"
    )
    command.set_defaults(run=_compare, usage=command.error)


def add_judging_options(command: argparse.ArgumentParser) -> None:
    """Declare what counts as a failure of a comparison."""
    command.add_argument(
        "--fail-on",
        metavar="LIST",
        type=_kinds,
        default=FAILURES,
        help=f"what counts as a failure, comma-separated: {', '.join(FAILURES)}, or 'none' (default: all three)",
    )
    command.add_argument(
        "--max-slowdown",
        metavar="PERCENT",
        type=_percent,
        default=MAX_SLOWDOWN,
        help="a call may take so much longer, or more if that is not significant (default: 5%%)",
    )
    command.add_argument(
        "--noise",
        metavar="PERCENT",
        type=_percent,
        default=NOISE,
        help="by how much two runs of the same software differ on this machine (default: 7%%)",
    )


def _compare(options: argparse.Namespace) -> int:
    if len(options.runs) < 2:
        options.usage("give two runs, OLD and NEW, or more for a series")
    runs = [read_run(path) for path in options.runs]
    if len(runs) > 2:
        for run, other in combinations(runs, 2):
            refuse_different_splits(run, other)
        sections = series_sections(runs)
        _show(sections, sections, options.markdown)
        return 0
    old, new = runs
    comparison = compare(old, new, options.noise)
    failures = list(comparison.failures(options.fail_on, options.max_slowdown))
    sections = sections_of(comparison, failures, options.fail_on)
    _show(sections, verdict_first(sections), options.markdown)
    return 1 if failures else 0


def _show(for_terminal: Sequence[Section], for_browser: Sequence[Section], markdown: Path | None) -> None:
    for line in as_text(for_terminal):
        print(line)
    if markdown is not None:
        write_markdown(markdown, for_browser)


def _kinds(text: str) -> tuple[str, ...]:
    kinds = () if text == "none" else tuple(part.strip() for part in text.split(","))
    if unknown := [kind for kind in kinds if kind not in FAILURES]:
        raise argparse.ArgumentTypeError(f"expected some of {', '.join(FAILURES)}, or none; found {unknown[0]!r}")
    return kinds


def _percent(text: str) -> float:
    """Return a share, of ``5%`` or ``5``."""
    try:
        value = float(text.removesuffix("%"))
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"expected a percentage such as 5%, found {text!r}")
    return value / 100
