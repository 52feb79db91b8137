"""``python -m harness report``: runs as a page to look at, and as Markdown; imports no torch."""

from __future__ import annotations

import argparse
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from harness.commands.compare import add_judging_options
from harness.commands.options import write_markdown, write_text
from harness.data.layouts import EMBEDDED, open_split
from harness.errors import ResultsError, SplitError
from harness.gate.verdict import FAILED
from harness.reporting.report import Report, report_on, sections
from harness.reporting.run_folder import read_run

if TYPE_CHECKING:
    from harness.commands import Commands
    from harness.reporting.page.thumbnails import Thumbnails

_NEEDS = ("altair", "jinja2", "vl_convert")


def add(commands: Commands) -> None:
    """Declare the command."""
    command = commands.add_parser(
        "report",
        help="make one self-contained page of runs, or Markdown; exit 1 if something fails",
        description="Make a page of a run: one file that needs no network. With two runs it shows what changed from "
        "the first to the second; with more, the series, and what changed in the last step. The first line printed is "
        "the verdict; the run's own checks count always. Give -o, --markdown, or both. Exit 1 if something fails, 2 if "
        "it cannot be made.",
    )
    command.add_argument(
        "runs",
        metavar="RUN",
        type=Path,
        nargs="+",
        help="folders of --results, or files of --benchmark-json or record.json; oldest first",
    )
    command.add_argument(
        "--against",
        metavar="RUN",
        type=Path,
        help="the run that the newest is compared with (default: the one before it)",
    )
    command.add_argument(
        "-o", "--output", metavar="FILE", type=Path, help="write the page to this file (default: none)"
    )
    command.add_argument(
        "--markdown", metavar="FILE", type=Path, help="write the report to this file, as Markdown (default: none)"
    )
    command.add_argument(
        "--images",
        metavar="SPLIT",
        help="show pictures of the images in this folder or archive; only where their terms allow the page to be "
        "passed on (default: none, but for the embedded split)",
    )
    add_judging_options(command)
    command.set_defaults(run=_report, usage=command.error)


def _report(options: argparse.Namespace) -> int:
    if options.output is None and options.markdown is None:
        options.usage("give -o FILE for a page, --markdown FILE, or both")
    report = report_on(
        [read_run(path) for path in options.runs],
        against=None if options.against is None else read_run(options.against),
        fail_on=options.fail_on,
        max_slowdown=options.max_slowdown,
        noise=options.noise,
    )
    if options.markdown is not None:
        write_markdown(options.markdown, sections(report))
    if options.output is not None:
        if missing := [name for name in _NEEDS if find_spec(name) is None]:
            raise ResultsError(
                f"-o {options.output}: a page needs {' and '.join(missing)}, not installed: pip install -e '.[report]'"
            )
        from harness.reporting.page.render import page_of

        write_text("-o", options.output, page_of(report, _thumbnails(report, options.images)))
    print(report.headline.sentence)
    for path in filter(None, (options.output, options.markdown)):
        print(f"{path}: {path.stat().st_size / 1e3:,.0f} KB")
    return 1 if report.headline.outcome == FAILED else 0


def _thumbnails(report: Report, images: str | None) -> Thumbnails:
    """Return the pictures for the page.

    The embedded images are this project's own. Others' terms may forbid to pass them on, as ImageNet's do, so they are
    shown only where the caller names them.

    Raises:
        SplitError: they cannot be read, or lack one. Whether a file is still the one that was evaluated is not known.
    """
    from harness.reporting.page.changes import shown_ids
    from harness.reporting.page.thumbnails import Thumbnails

    split, shown = report.record.split, shown_ids(report.comparison) if report.comparison else set()
    if split is None or not (shown or images):
        return Thumbnails(None)
    if images is None and split.name != EMBEDDED:
        why = f"The pictures are not shown: the terms of {split.name} may forbid passing them on."
        return Thumbnails(None, f"{why} Where they do not, --images DIR shows them.")
    found = open_split(images or EMBEDDED, "--images")
    if missing := sorted(shown.difference(found.ids)):
        raise SplitError(f"--images {images}: expected the images of {split.name}, found none called {missing[0]!r}")
    return Thumbnails(found)
