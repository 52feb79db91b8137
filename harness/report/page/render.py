"""A report -> the page, laid out by a Jinja template."""

from __future__ import annotations

import shlex

import jinja2

from harness.report.page.changes import Thumbnails, changes
from harness.report.page.parts import parts_of
from harness.report.report import Report
from harness.report.run import shown
from harness.report.sections import by_cause

_PINNED = ("torch", "torchvision", "numpy", "pillow")


def page_of(report: Report, thumbnails: Thumbnails) -> str:
    """Return the page, as HTML, with those pictures of changed predictions that may be shown."""
    loader = jinja2.PackageLoader("harness.report.page", ".")
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    # By a run's record, or else by the images.
    recorded = (run.record.dataset.class_names for run in reversed(report.runs) if run.record.dataset)
    class_names = next(filter(None, recorded), thumbnails.class_names)
    return environment.get_template("page.html.jinja").render(
        report=report,
        parts=list(parts_of(report)),
        changes=changes(report.comparison, thumbnails, class_names) if report.comparison else [],
        pictures=thumbnails,
        by_cause=by_cause,
        shown=shown,
        commands=_commands(report),
    )


def _commands(report: Report) -> list[str]:
    """Return the commands that make this run again."""
    facts = report.record.environment.facts
    pinned = [f"{name}=={facts[name].partition('+')[0]}" for name in _PINNED if name in facts]
    pre = "--pre " if ".dev" in facts.get("torch", "") else ""
    commands = [f"pip install {pre}{' '.join(pinned)}"] if pinned else []
    commands += report.record.commands
    if report.comparison is not None:
        paths = [str(run.path) for run in (report.comparison.old, report.comparison.new)]
        commands.append(shlex.join(["imagenet-gate", "compare", *paths, *report.judging.arguments()]))
    return commands
