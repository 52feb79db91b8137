"""Fills the store before a run needs it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from harness.data.decoded import Progress
from harness.data.layouts import open_split
from harness.data.preset import Geometry
from harness.data.store import Store
from harness.evaluation.device import decoder_on, resolve_device
from harness.evaluation.models import geometry_of
from harness.gate.cases import Case


def decode_ahead(
    imagenet: str,
    cases: Sequence[Case],
    *,
    device: str,
    decoder: str,
    workers: int,
    store: Path,
    progress: Progress,
) -> Iterator[tuple[Geometry, float]]:
    """Fill the store with all that the cases need; yield each geometry with the seconds that it took.

    Raises:
        HarnessError: the images or the store cannot be used, or a model is not known.
    """
    geometries = dict.fromkeys(geometry_of(case.entry.spec) for case in cases)
    found = decoder_on(decoder, resolve_device(device) if decoder == "nvjpeg" else torch.device("cpu"))
    with Store(open_split(imagenet), found, store, workers) as decoding:
        for geometry in geometries:
            started = time.perf_counter()
            decoding.decoded(geometry, progress).finish()
            yield geometry, time.perf_counter() - started
