"""What all of torchvision's weights in four precisions cost on many GPUs: a model from published speeds, not measured.

    python -m benchmarks.scale

Prints the numbers of docs/measurements/scale.md, which names the hardware and source of each input.
``published_speeds.csv`` holds images/s that others measured; the rest is below, or comes from torchvision's metadata.
"""

from __future__ import annotations

import csv
import heapq
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torchvision

from harness.cli.expected import published_accuracies
from harness.expected import ModelSpec
from harness.models import geometry_of

IMAGES = 50_000
# Dense TFLOP/s by the makers' data sheets.
PEAK = {("RTX 4090", "amp"): 165.2, ("A100", "tf32"): 156.0, ("A100", "fp32"): 19.5, ("V100", "fp32"): 15.7}
# Measured here: images/s of 256/224 that a core decodes, core-seconds of an image in all 27, images/s of 224 read.
DECODED, ALL_GEOMETRIES, READ = 238, 40.7 / 238, 17_800
NVJPEG = 1000 / 0.1276548  # images/s on an A100
LINKS = {"PCIe 4": 25e9, "8 NVMe": 24e9, "NFS 10 Gbit/s": 1.25e9, "NFS 100 Gbit/s": 12.5e9}  # bytes/s, assumed


class Weights(NamedTuple):
    """One of the 114; GMACs are multiply-adds of an image, in 10^9."""

    model: str
    crop: int
    gmacs: float


def main() -> None:
    """Print."""
    speeds: dict[tuple[str, str, str, int], tuple[float, float]] = {}
    for row in csv.DictReader((Path(__file__).parent / "published_speeds.csv").read_text().splitlines()):
        key = row["gpu"], row["precision"], row["model"], int(row["crop"])
        speeds[key] = float(row["images_per_second"]), float(row["gmacs"] or 0)
    timm = {key[2:]: value for key, value in speeds.items() if key[0] == "RTX 4090"}
    named = (name.partition("-") for name in published_accuracies())
    specs = [ModelSpec(model, member) for model, _, member in named]
    ops = [torchvision.models.get_model_weights(spec.model)[spec.weights].meta["_ops"] for spec in specs]
    geometries = [geometry_of(spec) for spec in specs]
    weights = [Weights(s.model, g.crop, each) for s, g, each in zip(specs, geometries, ops, strict=True)]
    amp = [_seconds(one, weights, timm) for one in weights]
    timed = [(one.gmacs, each) for one, each in zip(weights, amp, strict=True) if one[:2] in timm]
    known, seconds = (sum(column) for column in zip(*timed, strict=True))
    rates = [_tflops(gmacs, IMAGES / each) for gmacs, each in timed]
    print(f"{len(ops)} weights, {sum(ops):,.1f} GMACs an image, {2 * sum(ops) * IMAGES / 1e9:.3f} EFLOP a precision")
    print(f"RTX 4090, 16 bit: {len(timed)} weights, {known:,.1f} GMACs, {seconds:,.0f} s", end="; ")
    print(f"with the others {sum(amp):,.0f} s; all at the mean rate {seconds * sum(ops) / known:,.0f} s")
    mean = _tflops(known, IMAGES / seconds)
    for name, rate in {"mean": mean, "median": median(rates), "least": min(rates), "most": max(rates)}.items():
        print(f"  {name}: {rate:.1f} TFLOP/s, {rate / PEAK['RTX 4090', 'amp']:.1%} of peak")
    gmacs = {one[:2]: one.gmacs for one in weights}
    slower, shares = {}, {}
    for (gpu, precision, model, crop), (images, _) in speeds.items():
        if precision != "amp":
            rate, at = _tflops(gmacs[model, crop], images), (gpu, precision, model)
            slower[at], shares[at] = speeds[gpu, "amp", model, crop][0] / images, rate / PEAK[gpu, precision]
            print(f"{' '.join(at)}: {rate:.1f} TFLOP/s, {shares[at]:.0%} of peak, 16 bit is {slower[at]:.2f} x")

    sgemm, least = shares["V100", "fp32", "resnet50"] * PEAK["A100", "fp32"], slower["V100", "fp32", "efficientnet_b4"]
    fp32 = [max(least * each, 2 * work * IMAGES / 1e3 / sgemm) for each, work in zip(amp, ops, strict=True)]
    tf32 = [slower["A100", "tf32", "efficientnet_b4"] * each for each in amp]
    for name, column in {"fp32": fp32, "tf32": tf32, "16 bit": amp, "all": [*fp32, *tf32, *amp, *amp]}.items():
        print(f"{name}: {sum(column) / 3600:.2f} GPU-hours, longest case {max(column):,.0f} s")
        for gpus in (8, 64):
            even = sum(column) / gpus
            print(
                f"  {gpus} GPUs: {even:,.0f} s if split evenly, {_makespan(column, gpus):,.0f} s by whole cases;",
                end=" ",
            )
            print(f"{sum(each > even for each in column)} cases are longer, without the longest", end=" ")
            print(f"{_makespan(sorted(column)[:-1], gpus):,.0f} s")

    sizes = {geometry: IMAGES * geometry.crop**2 * 3 for geometry in geometries}
    once, every = sum(sizes.values()), 4 * sum(sizes[geometry] for geometry in geometries)
    print(f"{len(sizes)} geometries, {once / 1e9:,.1f} GB; read for every case {every / 1e12:.2f} TB")
    print("over 40 GB:", ", ".join(str(geometry) for geometry, size in sizes.items() if size > 40e9))
    print(f"decode: {IMAGES * ALL_GEOMETRIES:,.0f} core-s in all, 256/224 {IMAGES / DECODED:,.0f};", end=" ")
    print(", ".join(f"{cores} cores {IMAGES * ALL_GEOMETRIES / cores:,.0f} s" for cores in (16, 128, 1024)))
    print(f"nvJPEG: {NVJPEG:,.0f} images/s, as {NVJPEG / DECODED:.0f} cores; 27 times {27 * IMAGES / NVJPEG:,.0f} s")
    print(
        f"reading: {READ * 224**2 * 3 / 1e9:.2f} GB/s; {sum(IMAGES / each > READ for each in amp)} weights are faster"
    )
    for name, link in LINKS.items():
        print(f"{name}: {link / 224**2 / 3:,.0f} images/s; once {once / link:,.0f} s, every case {every / link:,.0f} s")


def _seconds(one: Weights, weights: Iterable[Weights], timm: Mapping[Any, tuple[float, float]]) -> float:
    """Return what all images take: as timed, at the same model's rate at another crop, or at that of small models."""
    if one[:2] in timm:
        return IMAGES / timm[one[:2]][0]
    near = [images * gmacs for (model, _), (images, gmacs) in timm.items() if model == one.model and gmacs]
    small = [timm[it[:2]][0] * it.gmacs for it in weights if it.gmacs < 2 and it[:2] in timm]
    return IMAGES * one.gmacs / (near[0] if near else median(small))


def _tflops(gmacs: float, images_per_second: float) -> float:
    return 2 * gmacs * images_per_second / 1e3


def _makespan(seconds: Iterable[float], gpus: int) -> float:
    """Return when the last GPU is done, each taking the longest case that is left."""
    busy = [0.0] * gpus
    for each in sorted(seconds, reverse=True):
        heapq.heapreplace(busy, busy[0] + each)
    return max(busy)


if __name__ == "__main__":
    main()
