"""``imagenet-gate dataset``: describe a dataset, and find out whether it is damaged."""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from harness.cli import Commands, add_dataset
from harness.dataset import ImageDataset, open_dataset
from harness.errors import printable
from harness.formats import imagenet, imagenetv2
from harness.report.progress import progress_on_stderr

if TYPE_CHECKING:
    from harness.decoding.survey import Found

_SHOWN = 10


def add(commands: Commands) -> None:
    """Declare the command."""
    command = commands.add_parser(
        "dataset",
        help="describe a dataset; exit 1 if it is damaged",
        description="Decode every image and describe the dataset. Exit 1 if an image cannot be decoded, or if the "
        "dataset has the file names of ImageNet-1k's validation set but is incomplete; 2 if it cannot be opened.",
    )
    add_dataset(command)
    command.set_defaults(run=_describe)


def _describe(options: argparse.Namespace) -> int:
    dataset = open_dataset(options.dataset, "DATASET")
    from harness.decoding.survey import survey

    with progress_on_stderr("decoding") as progress:
        found = survey(dataset.sources, options.workers, progress)
    images = zip(dataset.sources, found, strict=True)
    findings = {
        "duplicates": _duplicates(dataset, found),
        "ignored": dataset.ignored,
        "unreadable": [f"{source}: {image.reason}" for source, image in images if image.reason],
    }
    for title, value in _facts(dataset, found).items():
        print(printable(f"{title + ':':12} {value}"))
    for title, lines in findings.items():
        print(f"{title + ':':12} {f'{len(lines):,}' if lines else 'none'}")
        for line in lines[:_SHOWN]:
            print(printable(f"    {line}"))
        if len(lines) > _SHOWN:
            print(f"    and {len(lines) - _SHOWN:,} more")
    damaged = bool(findings["unreadable"] or dataset.caveat not in ("", imagenetv2.REENCODED))
    print(printable(_verdict(dataset, damaged=damaged)))
    return 1 if damaged else 0


def _facts(dataset: ImageDataset, found: list[Found]) -> dict[str, str]:
    counts = Counter(dataset.targets.tolist())
    fewest, most = min(counts.values()), max(counts.values())
    a_class = f"{fewest:,} in each" if fewest == most else f"{fewest:,} to {most:,} in each"
    sizes = Counter(image.size for image in found if not image.reason)
    facts = {
        "dataset": dataset.name,
        "format": f"{dataset.format}, {dataset.root}",
        "images": f"{len(dataset):,}",
        "classes": f"{len(counts):,} of {len(dataset.classes):,}, {a_class}",
        "encoding": _listed(Counter(image.format for image in found if image.format)),
        "modes": _listed(Counter(image.mode for image in found if image.mode)),
    }
    if sizes:
        (width, height), times = sizes.most_common(1)[0]
        widths, heights = zip(*sizes, strict=True)
        ranges = f"{min(widths)} to {max(widths)} wide, {min(heights)} to {max(heights)} high"
        facts["sizes"] = f"{ranges}, most often {width} x {height} ({times:,})"
    return facts | {"labels": f"sha256 {imagenet.labels_sha256(dataset.targets)}", "digest": dataset.digest}


def _listed(counts: Counter[str]) -> str:
    ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return ", ".join(f"{name} {count:,}" for name, count in ordered) or "none"


def _duplicates(dataset: ImageDataset, found: list[Found]) -> list[str]:
    """Return a line for each group of images that are equal, byte for byte."""
    same = defaultdict(list)
    for identity, image in zip(dataset.ids, found, strict=True):
        if image.digest:
            same[image.digest].append(identity)
    return [" = ".join(ids) for ids in same.values() if len(ids) > 1]


def _verdict(dataset: ImageDataset, *, damaged: bool) -> str:
    but = ", but damaged" if damaged else ""
    if dataset.name == imagenet.NAME:
        return f"It is the ImageNet-1k validation set: all 50,000 images by name, and all labels{but}."
    if dataset.caveat == imagenetv2.REENCODED:
        return f"It is {dataset.name}{but}: {dataset.caveat}."
    if dataset.caveat:
        return f"Damaged or not whole: {dataset.caveat}."
    why_not = imagenet.validation_set_error(dataset.ids, imagenet.validation_numbers(dataset.ids))
    return f"{'Damaged. ' if damaged else ''}It is not the ImageNet-1k validation set: {why_not}."
