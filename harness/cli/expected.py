"""``imagenet-gate expected`` and ``list-models``: check the file of expected accuracies, and show it."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable, Mapping
from pathlib import Path

from harness.cli import Commands
from harness.expected import Entry, ModelSpec
from harness.records.accuracy_file import default_file, read_expected
from harness.records.environment import versions
from harness.records.evidence import METRICS


def add(commands: Commands) -> None:
    """Declare the command."""
    about = "The file of expected accuracies, by default expected_accuracy.yaml."
    expected = commands.add_parser("expected", help="check the file of expected accuracies", description=about)
    actions = expected.add_subparsers(metavar="ACTION", required=True)
    check = actions.add_parser(
        "check",
        help="compare it with the installed torchvision's own metadata; exit 1 if they disagree",
        description="Compare the imagenet-1k values of the file with the installed torchvision's own metadata. Exit 1 "
        "if they disagree.",
    )
    file = "file of expected accuracies (default: %(default)s)"
    check.add_argument("file", metavar="FILE", type=Path, nargs="?", default=default_file(Path()), help=file)
    check.set_defaults(run=_check)
    about = "Show the ids that --models takes, with the expected top-1 and top-5 accuracy in percent by dataset."
    listing = commands.add_parser("list-models", help="show models and their expected accuracy", description=about)
    listing.add_argument("--expected", dest="file", metavar="FILE", type=Path, default=default_file(Path()), help=file)
    listing.set_defaults(run=_list)


def _list(options: argparse.Namespace) -> int:
    for entry in read_expected(options.file):
        for dataset in entry.expected or [""]:
            expected = entry.expected_on(dataset)
            values = [f"{expected.counts.percent(metric):7.3f}" for metric in METRICS] if expected else ["not judged"]
            print(f"{entry.spec!s:<44} {dataset:<27}", *values)
    return 0


def _check(options: argparse.Namespace) -> int:
    entries = read_expected(options.file)
    published = published_accuracies()
    lines = disagreements(entries, published)
    for line in lines:
        print(line)
    found = f"{len(lines) or 'no'} disagreement{'s' if len(lines) > 1 else ''}"
    print(f"{options.file}: {found} with the {len(published)} weights of torchvision {versions()['torchvision']}")
    return 1 if lines else 0


def disagreements(entries: Iterable[Entry], published: Mapping[str, tuple[float, float]]) -> list[str]:
    """Say where the values for imagenet-1k differ from those published, and which weights only one of the two has.

    Models with a builder are not torchvision's and are left out.
    """
    ours = {
        str(entry.spec): expected.counts
        for entry in entries
        if entry.spec.builder is None and (expected := entry.expected_on("imagenet-1k"))
    }
    lines = [f"{name}: in the file, not in torchvision" for name in ours if name not in published]
    for name, accuracies in published.items():
        if name not in ours:
            lines.append(f"{name}: {accuracies} in torchvision, no values for imagenet-1k in the file")
            continue
        for metric, accuracy in zip(("top1", "top5"), accuracies, strict=True):
            if ours[name].correct(metric) != round(accuracy * ours[name].images / 100):
                lines.append(f"{name}: {metric} is {ours[name].percent(metric)} in the file, {accuracy} in torchvision")
    return lines


def published_accuracies() -> dict[str, tuple[float, float]]:
    """Return acc@1 and acc@5 on ImageNet-1K, in percent, of every weight of torchvision that has them, by id."""
    import torchvision  # and with it torch

    published = {}
    for model in torchvision.models.list_models(module=torchvision.models):
        for name, weights in torchvision.models.get_model_weights(model).__members__.items():
            metrics = weights.meta["_metrics"].get("ImageNet-1K")
            # DEFAULT is another name of a member; VGG16's IMAGENET1K_FEATURES are no classifier and state NaN.
            if name == weights.name and metrics is not None and not math.isnan(metrics["acc@1"]):
                published[str(ModelSpec(model, name))] = (metrics["acc@1"], metrics["acc@5"])
    return published
