"""Whether the harness can run every model: all torchvision weights with a published accuracy, on a few images.

    python -m benchmarks.all_models DATASET [--limit 8] [--models LIST] [--draw-zeros] [--output FILE]

DATASET is a folder of images. Weights are seeded random numbers, so nothing is downloaded and no accuracy is meant; the
pixels are the dataset's, in each model's own geometry, and the loop is the gate's. ``build`` is the time to make the
model, digest included; ``predict`` that of all images, first calls included, one run each; ``peak`` the largest memory
while both went on, of this process alone, and ``before`` what it held when they began: Python, torch, and the dataset.
Decoding is done by then. FILE gets a Markdown table if its name ends in .md, else JSON; it may be given twice.

A model that fails stops nothing. Exit status 1 if one fails with anything but one of the harness's own errors.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
import traceback
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
import torchvision
from torch import nn

from harness.dataset import open_dataset
from harness.decoding.store import DecodedImages, Store
from harness.device import describe_device, keep_freed_memory, resolve_device
from harness.errors import HarnessError
from harness.expected import DEFAULT_FILE, ModelSpec, select_cases
from harness.formats import imagenet
from harness.models import geometry_of, load
from harness.options import Decoder
from harness.precision import DEFAULT
from harness.predict import predict
from harness.prefetch import Prefetch
from harness.records.accuracy_file import read_expected
from harness.records.run_folder import write_whole
from harness.throughput.machine import peak_memory, reset_peak_memory

EVALUATED = "evaluated"
_HEAD = ("weights", "geometry", "params", "GMACs", "build s", "predict s", "before GB", "peak GB", "outcome")


@dataclass
class Row:
    """The result for one model.

    Attributes:
        weights: id of the model with its weights.
        geometry: resize/crop interpolation.
        before: memory in use when it began, in bytes; None if not known.
        peak: the largest use of memory, in bytes.
        different: number of different rows of highest logits.
        outcome: ``evaluated``, or why not.
        crashed: whether it failed with something else than an error of the harness.
    """

    weights: str
    geometry: str
    parameters: int | None = None
    gmacs: float | None = None
    build_seconds: float | None = None
    predict_seconds: float | None = None
    before: int | None = None
    peak: int | None = None
    different: int | None = None
    outcome: str = "not run"
    crashed: bool = False

    def cells(self) -> tuple[str, ...]:
        """Return the row as text."""
        return (
            self.weights,
            self.geometry,
            "-" if self.parameters is None else f"{self.parameters / 1e6:.1f}M",
            _number(self.gmacs),
            _number(self.build_seconds),
            _number(self.predict_seconds),
            _number(self.before, 1e9),
            _number(self.peak, 1e9),
            self.outcome,
        )


def main() -> None:
    """Run all, print as it goes, and sum up."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", metavar="DATASET")
    parser.add_argument("--models", default="all")
    parser.add_argument("--limit", type=int, default=8)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--draw-zeros", action="store_true", help="draw the layers that torchvision leaves at zero")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--output", type=Path, action="append", default=[])
    options = parser.parse_args()
    device = resolve_device(options.device)
    keep_freed_memory()  # as the gate does
    dataset = open_dataset(options.dataset).subset(options.limit)
    specs = _specs(options.models.split(","))
    about = (
        f"{len(specs)} weights, {len(dataset)} images, batches of {options.batch_size}, seeded weights, "
        f"{describe_device(device)}, torch {torch.__version__}, torchvision {torchvision.__version__}"
    )
    print(about, flush=True)
    rows: list[Row] = []
    started = time.perf_counter()
    with Store(dataset, Decoder(), None, workers=2) as store:
        for geometry, group in groupby(sorted(specs, key=_order), key=geometry_of):
            decoded = store.decoded(geometry, lambda *_: None)
            decoded.finish()
            for spec in group:
                rows.append(_row(spec, decoded, device, options.batch_size, draw_zeros=options.draw_zeros))
                print(f"{len(rows):3}  " + "  ".join(rows[-1].cells()), flush=True)
    lines = [about, *_summary(rows, len(dataset), time.perf_counter() - started)]
    print("\n".join(lines[1:]))
    for path in options.output:
        text = _markdown(rows, lines) if path.suffix == ".md" else _json(rows, about)
        write_whole(path, text.encode())
    sys.exit(any(row.crashed for row in rows))


def _specs(wanted: Sequence[str]) -> list[ModelSpec]:
    """Return torchvision's weights with a published accuracy on ImageNet-1k, of those wanted."""
    known = read_expected(Path(__file__).parents[1] / DEFAULT_FILE)
    entries = [entry for entry in known if imagenet.NAME in entry.expected and entry.spec.builder is None]
    return [case.spec for case in select_cases(entries, wanted, (DEFAULT,), synthetic=False)]


def _order(spec: ModelSpec) -> tuple[int, int, str]:
    geometry = geometry_of(spec)
    return geometry.crop, geometry.resize, geometry.interpolation


def _row(spec: ModelSpec, decoded: DecodedImages, device: torch.device, batch_size: int, *, draw_zeros: bool) -> Row:
    """Build the model, evaluate it, and drop it."""
    row = Row(str(spec), str(decoded.geometry))
    gc.collect()  # the model before is gone by its reference count, unless it is part of a cycle
    reset_peak_memory(device)
    row.before = peak_memory(device)
    try:
        started = time.perf_counter()
        model = load(spec, device, seeded=True)
        row.build_seconds = time.perf_counter() - started
        row.parameters, row.gmacs = model.parameters, model.gmacs
        if draw_zeros:
            _draw_zeros(model.module)
        started = time.perf_counter()
        try:
            found = predict(
                model.module,
                decoded,
                model.preset,
                prefetch=Prefetch(device),
                batch_size=batch_size,
                classes=len(imagenet.wnids()),
            )
        finally:
            row.predict_seconds = time.perf_counter() - started
        assert found.predictions.logits is not None
        row.different = len(np.unique(found.predictions.logits, axis=0))
        row.outcome = EVALUATED
        if found.batch_size != batch_size:
            row.outcome += f" in batches of {found.batch_size}"
    except HarnessError as error:
        row.outcome = str(error)
    except Exception as error:
        traceback.print_exc()
        row.outcome, row.crashed = f"{type(error).__name__}: {error}".splitlines()[0], True
    row.peak = peak_memory(device)
    return row


def _draw_zeros(model: nn.Module) -> None:
    """Give random weights to linear layers that have none, as the head of a ViT that is not pretrained."""
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.Linear) and not module.weight.any():
            nn.init.normal_(module.weight, std=0.02)


def _summary(rows: Sequence[Row], images: int, seconds: float) -> list[str]:
    evaluated = [row for row in rows if row.outcome.startswith(EVALUATED)]
    lines = [
        f"{len(evaluated)} of {len(rows)} evaluated in {seconds:,.0f} s: build "
        f"{sum(row.build_seconds or 0 for row in rows):,.0f} s, predict "
        f"{sum(row.predict_seconds or 0 for row in rows):,.0f} s; "
        f"{sum(row.gmacs or 0 for row in rows):,.1f} GMACs for an image by each, "
        f"{sum(row.parameters or 0 for row in rows) / 1e6:,.1f}M parameters"
    ]
    for name, column in (("peak", 7), ("build", 4), ("predict", 5)):
        largest = max(rows, key=lambda row: _value(row.cells()[column]))
        lines.append(f"largest {name}: {largest.weights} ({largest.cells()[column]} {_HEAD[column].split()[-1]})")
    same = [row.weights for row in evaluated if row.different != images]
    lines.append(f"same highest logits for two images: {', '.join(same) or 'none'}")
    lines += [f"failed: {row.weights}: {row.outcome}" for row in rows if row not in evaluated]
    return lines


def _markdown(rows: Iterable[Row], lines: Sequence[str]) -> str:
    table = [_HEAD, ("---",) * len(_HEAD), *(row.cells() for row in rows)]
    return "\n".join([*(f"- {line}" for line in lines), "", *(f"| {' | '.join(cells)} |" for cells in table), ""])


def _json(rows: Iterable[Row], about: str) -> str:
    return json.dumps({"about": about, "rows": [asdict(row) for row in rows]}, indent=1) + "\n"


def _value(cell: str) -> float:
    return 0.0 if cell == "-" else float(cell)


def _number(value: float | None, unit: float = 1.0) -> str:
    return "-" if value is None else f"{value / unit:.2f}"


if __name__ == "__main__":
    main()
