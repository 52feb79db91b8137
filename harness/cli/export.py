"""``imagenet-gate export``: a run in a format that dashboards read; imports no torch."""

from __future__ import annotations

import argparse
import csv
import io
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from harness.cli import Commands, write_or_print
from harness.records.evidence import METRICS
from harness.records.results import CaseResult, Record, TimingResult
from harness.records.run_folder import read_run


class Measurement(NamedTuple):
    """One figure of a case or a timing."""

    result: CaseResult | TimingResult
    metric: str
    unit: str
    values: list[float]  # one, or that of each call
    expected: float | None = None  # the published value


def add(commands: Commands) -> None:
    """Declare the command."""
    command = commands.add_parser(
        "export",
        help="write a run for a dashboard: PyTorch's HUD, Bencher, or CSV",
        description="Print accuracy, speed and peak memory of a run: as records of PyTorch's benchmark database "
        "(version 3), as Bencher Metric Format, or as CSV. Exit 1 if a test of the run has no result.",
    )
    run = "folder of --results, or file of --benchmark-json"
    command.add_argument("run_folder", metavar="RUN", type=Path, help=run)
    command.add_argument("--format", choices=tuple(_FORMATS), required=True, help="the format")
    command.add_argument("-o", "--output", metavar="FILE", type=Path, help="write to this file (default: print)")
    command.set_defaults(run=_export)


def measurements(record: Record) -> Iterator[Measurement]:
    """Yield all figures of a run: accuracies in percent, speed in images a second, memory in bytes."""
    for case in record.cases:
        for metric, name in METRICS.items():
            # The published value is that of the whole dataset.
            whole = case.expected if case.expected and case.expected.counts.images == case.counts.images else None
            expected = float(whole.counts.percent(metric)) if whole else None
            yield Measurement(case, name, "percent", [float(case.counts.percent(metric))], expected)
        if case.images_per_second:
            yield Measurement(case, "images_per_second", "1/s", [case.images_per_second])
    for timing in record.timings:
        yield Measurement(timing, "images_per_second", "1/s", [timing.batch_size / call for call in timing.seconds])
        if timing.peak_memory is not None:
            yield Measurement(timing, "peak_memory", "byte", [float(timing.peak_memory)])


def hud(record: Record) -> str:
    """Return records of PyTorch's benchmark database, version 3, as its upload_benchmark_results.py reads them."""
    facts = {name: str(value) for name, value in record.environment.facts.items()}
    records = []
    for result, metric, unit, values, expected in measurements(record):
        details = {"id": result.id, "unit": unit, "memory_format": result.memory_format, "created": record.created}
        if isinstance(result, TimingResult):
            details["batch_size"] = str(result.batch_size)
        target = {} if expected is None else {"target_value": expected}
        benchmark = {"name": "imagenet-gate", "mode": "inference", "dtype": result.precision, "extra_info": details}
        model = {"name": result.model, "type": "image classification"}
        records.append({
            "benchmark": benchmark,
            "model": {**model, "backend": "inductor" if result.compiled else "eager"},
            "metric": {"name": metric, "benchmark_values": values, **target},
            "dependencies": facts,
        })  # fmt: skip
    return json.dumps(records, indent=1) + "\n"


def bmf(record: Record) -> str:
    """Return Bencher Metric Format: by id and measure the median, with the quartiles where there are several values."""
    found: dict[str, dict[str, Any]] = {}
    for result, metric, _, values, _ in measurements(record):
        low, middle, high = np.percentile(values, (25, 50, 75)).tolist()
        bounds = {"lower_value": low, "upper_value": high} if len(values) > 1 else {}
        found.setdefault(result.id, {})[metric] = {"value": middle, **bounds}
    return json.dumps(found, indent=1) + "\n"


def table(record: Record) -> str:
    """Return a row for each figure, the median where there are several values, as CSV."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["id", "model", "precision", "metric", "unit", "value", "expected"])
    for result, metric, unit, values, expected in measurements(record):
        value = float(np.median(values))
        rows.writerow([result.id, result.model, result.precision, metric, unit, value, expected])
    return text.getvalue()


_FORMATS: dict[str, Callable[[Record], str]] = {"hud-v3": hud, "bmf": bmf, "csv": table}


def _export(options: argparse.Namespace) -> int:
    record = read_run(options.run_folder).record
    write_or_print(options.output, _FORMATS[options.format](record))
    for missing in record.missing:
        print(f"{missing.id} has no result: {missing.outcome}", file=sys.stderr)
    return 1 if record.missing else 0
