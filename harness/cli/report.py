"""``imagenet-gate report``: runs as a page to look at, and as Markdown; imports no torch."""

from __future__ import annotations

import argparse
from importlib.util import find_spec
from pathlib import Path

from harness.cli import Commands, write_text
from harness.cli.compare import add_judging, judging_of
from harness.dataset import SYNTHETIC, open_dataset
from harness.errors import DatasetError, ResultsError
from harness.records.run_folder import read_run
from harness.report.page.changes import Thumbnails, chosen_ids
from harness.report.report import Report, report_on, report_sections
from harness.report.sections import as_markdown
from harness.verdict import FAILED

_NEEDS = ("altair", "jinja2", "vl_convert")


def add(commands: Commands) -> None:
    """Declare the command."""
    command = commands.add_parser(
        "report",
        help="make one self-contained page of runs, or Markdown; exit 1 if something fails",
        description="Make a page of a run: one file that needs no network. With two runs it shows what changed from "
        "the first to the second; with more, the series, and what changed in the last step. The first line printed is "
        "the verdict; the run's own checks always count. Give -o, --markdown, or both. Exit 1 if something fails, 2 if "
        "it cannot be made.",
        usage="%(prog)s RUN [RUN ...] [options]",
    )
    runs = "folders of --results, or files of --benchmark-json or record.json; oldest first"
    command.add_argument("runs", metavar="RUN", type=Path, nargs="+", help=runs)
    against = "the run that the newest is compared with (default: the one before it)"
    command.add_argument("--against", metavar="RUN", type=Path, help=against)
    page = "write the page to this file (default: none)"
    command.add_argument("-o", "--output", metavar="FILE", type=Path, help=page)
    markdown = "write the report to this file, as Markdown (default: none)"
    command.add_argument("--markdown", metavar="FILE", type=Path, help=markdown)
    images = (
        "show pictures of the images in this folder or archive; only where their terms allow the page to be passed on "
        "(default: none, except for the synthetic dataset)"
    )
    command.add_argument("--images", metavar="DATASET", help=images)
    add_judging(command)
    command.set_defaults(run=_report, usage=command.error)


def _report(options: argparse.Namespace) -> int:
    if options.output is None and options.markdown is None:
        options.usage("give -o FILE for a page, --markdown FILE, or both")
    runs = [read_run(path) for path in options.runs]
    against = None if options.against is None else read_run(options.against)
    report = report_on(runs, against, judging_of(options))
    if options.markdown is not None:
        write_text("--markdown", options.markdown, "\n".join(as_markdown(report_sections(report))) + "\n")
    if options.output is not None:
        if missing := " and ".join(name for name in _NEEDS if find_spec(name) is None):
            needs = f"a page needs {missing}, not installed"
            raise ResultsError(f"-o {options.output}: {needs}: pip install -e '.[report]'")
        from harness.report.page.render import page_of

        write_text("-o", options.output, page_of(report, thumbnails(report, options.images)))
    print(report.headline.sentence)
    for path in filter(None, (options.output, options.markdown)):
        print(f"{path}: {path.stat().st_size / 1e3:,.0f} KB")
    return 1 if report.headline.outcome == FAILED else 0


def thumbnails(report: Report, images: str | None) -> Thumbnails:
    """Return the pictures for the page; whether their files changed since the run is not known."""
    dataset, ids = report.record.dataset, chosen_ids(report.comparison) if report.comparison else set()
    if dataset is None or not (ids or images):
        return Thumbnails(None)
    if images is None and dataset.name != SYNTHETIC:  # which is this project's own
        why_not = f"The pictures are not shown: the terms of {dataset.name} may forbid redistributing them."
        return Thumbnails(None, f"{why_not} Where they do not, --images DIR shows them.")
    found = open_dataset(images or SYNTHETIC, "--images")
    if missing := sorted(ids.difference(found.ids)):
        expected = f"expected the images of {dataset.name}"
        raise DatasetError(f"--images {images}: {expected}, found none called {missing[0]!r}")
    return Thumbnails(found)
