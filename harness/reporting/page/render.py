"""A report -> the page, laid out by Jinja's template."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

import jinja2
from markupsafe import Markup

from harness.reporting.environment import UNKNOWN
from harness.reporting.page.changes import changes
from harness.reporting.page.parts import parts_of
from harness.reporting.page.thumbnails import Thumbnails
from harness.reporting.report import Report

_PINNED = ("torch", "torchvision", "numpy", "pillow")


def page_of(report: Report, thumbnails: Thumbnails) -> str:
    """Return the page, as HTML.

    Args:
        thumbnails: pictures of the images whose answers changed, as far as they may be shown.

    Raises:
        RecordError: answers cannot be read.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("harness.reporting.page", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["svg"] = Markup  # of our own charts, in which names are escaped already
    found = changes(report.comparison, thumbnails, _class_names(report, thumbnails)) if report.comparison else []
    return environment.get_template("page.html.jinja").render(
        report=report,
        record=report.record,
        parts=list(parts_of(report)),
        changes=found,
        unpaired=report.comparison is not None and not any(pair.paired for pair in report.comparison.accuracy),
        pictures=thumbnails,
        commands=_commands(report),
        notes=_notes(report),
    )


def _class_names(report: Report, thumbnails: Thumbnails) -> Sequence[str]:
    """Return what is known of the classes' names: by a run's record, or else by the images."""
    known = (run.record.split.class_names for run in reversed(report.runs) if run.record.split)
    return next((names for names in known if names), thumbnails.class_names)


def _commands(report: Report) -> list[str]:
    """Return what to type to get this run again."""
    environment = vars(report.record.environment)
    pinned = [f"{name}=={environment[name].partition('+')[0]}" for name in _PINNED if environment[name] != UNKNOWN]
    install = [f"pip install {'--pre ' if '.dev' in environment['torch'] else ''}{' '.join(pinned)}"] if pinned else []
    compared = []
    if report.comparison is not None:
        paths = [str(run.path) for run in (report.comparison.old, report.comparison.new)]
        compared = [shlex.join(["python", "-m", "harness", "compare", *paths, *report.judged_by])]
    return [*install, *report.record.commands, *compared]


def _notes(report: Report) -> list[str]:
    """Return what to know before that is typed."""
    torch = report.record.environment.torch
    notes = []
    if "+" in torch or ".dev" in torch:
        notes.append(f"torch was {torch}: another build, or one of a night, comes from another index of torch's.")
    if any("--results" in command for command in report.record.commands):
        notes.append("--results names the folder of this very run: name another, or it is replaced.")
    return notes
