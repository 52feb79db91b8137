"""``python -m harness split``: describes an image set, and tells whether it is damaged."""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from harness.commands.options import positive
from harness.data import imagenet
from harness.data.layouts import open_split
from harness.data.split import Split
from harness.evaluation.place import available_cores
from harness.reporting.progress import progress_on_stderr

if TYPE_CHECKING:
    from harness.commands import Commands
    from harness.data.survey import Found

_SHOWN = 10


def add(commands: Commands) -> None:
    """Declare the command."""
    split = commands.add_parser(
        "split",
        help="describe an image set; exit 1 if it is damaged",
        description="Describe an image set, after decoding every image. Exit 1 if an image cannot be decoded or is in "
        "the wrong class, or if the set is named like ImageNet-1k's validation set and is not all of it.",
    )
    split.add_argument("path", metavar="SPLIT", help="folder or archive of the image set, or 'embedded'")
    split.add_argument(
        "--workers",
        metavar="N",
        type=positive,
        default=available_cores(),
        help="decoding processes (default: one for each CPU core that may be used, %(default)s here)",
    )
    split.set_defaults(run=_describe)


def _describe(options: argparse.Namespace) -> int:
    split = open_split(options.path, "SPLIT")
    from harness.data.survey import survey  # imports torch

    with progress_on_stderr("decoding") as progress:
        found = survey(split.sources, options.workers, progress)
    unreadable = [
        f"{source}: {image.reason}" for source, image in zip(split.sources, found, strict=True) if image.reason
    ]
    misplaced = _misplaced(split)
    for title, value in _facts(split, found):
        print(f"{title + ':':12} {value}")
    for title, listed in (
        ("duplicates", _duplicates(split, found)),
        ("ignored", list(split.ignored)),
        ("misplaced", misplaced),
        ("unreadable", unreadable),
    ):
        print(f"{title + ':':12} {len(listed):,}" if listed else f"{title + ':':12} none")
        for line in listed[:_SHOWN]:
            print(f"    {line}")
        if len(listed) > _SHOWN:
            print(f"    and {len(listed) - _SHOWN:,} more")
    damaged = bool(unreadable or misplaced or split.caveat)
    print(_verdict(split, damaged=damaged))
    return 1 if damaged else 0


def _facts(split: Split, found: list[Found]) -> list[tuple[str, str]]:
    counts = Counter(split.targets.tolist())
    fewest, most = min(counts.values()), max(counts.values())
    a_class = f"{fewest:,} in each" if fewest == most else f"{fewest:,} to {most:,} in each"
    sizes = Counter(image.size for image in found if not image.reason)
    facts = [
        ("split", split.name),
        ("form", f"{split.form}, {split.root}"),
        ("images", f"{len(split):,}"),
        ("classes", f"{len(counts):,} of {len(split.classes):,}, {a_class}"),
        ("formats", _listed(Counter(image.format for image in found if image.format))),
        ("modes", _listed(Counter(image.mode for image in found if image.mode))),
    ]
    if sizes:
        (width, height), times = sizes.most_common(1)[0]
        widths, heights = zip(*sizes, strict=True)
        facts.append(
            (
                "sizes",
                f"{min(widths)} to {max(widths)} wide, {min(heights)} to {max(heights)} high, "
                f"most often {width} x {height} ({times:,})",
            )
        )
    return [*facts, ("labels", f"sha256 {imagenet.labels_sha256(split.targets)}"), ("digest", split.digest)]


def _listed(counts: Counter[str]) -> str:
    ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return ", ".join(f"{name} {count:,}" for name, count in ordered) or "none"


def _duplicates(split: Split, found: list[Found]) -> list[str]:
    """Return a line for each set of images that are the same, byte for byte."""
    same = defaultdict(list)
    for identity, image in zip(split.ids, found, strict=True):
        if image.digest:
            same[image.digest].append(identity)
    return [" = ".join(ids) for ids in same.values() if len(ids) > 1]


def _misplaced(split: Split) -> list[str]:
    """Return a line for each validation image that is not in its class."""
    lines = []
    for identity, target in zip(split.ids, split.targets.tolist(), strict=True):
        number = imagenet.validation_number(identity.rpartition("/")[2])
        if number is None or not 1 <= number <= imagenet.IMAGES:
            continue
        right = imagenet.validation_label(number)
        if right != target:
            lines.append(f"{identity}: in {split.classes[target]}, belongs to {split.classes[right]}")
    return lines


def _verdict(split: Split, *, damaged: bool) -> str:
    if split.name == imagenet.NAME:
        known = "the ImageNet-1k validation set: all 50,000 images by name, and all labels"
        return f"It is {known}{', but damaged' if damaged else ''}."
    if split.caveat:
        return f"Damaged or not whole: {split.caveat}."
    return (
        f"{'Damaged. ' if damaged else ''}It is not the ImageNet-1k validation set: "
        + str(imagenet.why_incomplete(split.ids, split.targets))
        + "."
    )
