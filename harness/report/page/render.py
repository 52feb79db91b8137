"""A report -> the page, laid out by a Jinja template."""

from __future__ import annotations

import shlex

import jinja2
from markupsafe import Markup

from harness.report.page.changes import changes
from harness.report.page.parts import parts_of
from harness.report.page.thumbnails import Thumbnails
from harness.report.report import Report

_PINNED = ("torch", "torchvision", "numpy", "pillow")


def page_of(report: Report, thumbnails: Thumbnails) -> str:
    """Return the page, as HTML, with those pictures of changed predictions that may be shown."""
    loader = jinja2.PackageLoader("harness.report.page", ".")
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["svg"] = Markup  # our own charts, in which names are escaped already
    comparison = report.comparison
    # By a run's record, or else by the images.
    recorded = (run.record.dataset.class_names for run in reversed(report.runs) if run.record.dataset)
    class_names = next(filter(None, recorded), thumbnails.class_names)
    return environment.get_template("page.html.jinja").render(
        report=report,
        record=report.record,
        parts=list(parts_of(report)),
        changes=changes(comparison, thumbnails, class_names) if comparison else [],
        unpaired=comparison is not None and not any(pair.pairing for pair in comparison.accuracy),
        pictures=thumbnails,
        commands=_commands(report),
        notes=_notes(report),
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


def _notes(report: Report) -> list[str]:
    """Return what to know before these commands are typed."""
    torch = report.record.environment.torch or ""
    notes = []
    if "+" in torch or ".dev" in torch:
        notes.append(f"torch was {torch}: local and nightly builds come from another index of torch's.")
    if any("--results" in command for command in report.record.commands):
        notes.append("--results names the folder of this very run: name another, or it is replaced.")
    return notes
