"""``imagenet-gate expected`` and ``list-models``: check the file of expected accuracies, add to it, and show it."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable, Mapping
from pathlib import Path

import yaml

from harness.cli import Commands, write_or_print
from harness.errors import ResultsError
from harness.expected import Entry, ModelSpec
from harness.precision import DEFAULT
from harness.records.accuracy_file import default_file, read_expected
from harness.records.environment import versions
from harness.records.evidence import METRICS
from harness.records.run_folder import read_run
from harness.report.sections import Row, Section, as_text, number, table_of


def add(commands: Commands) -> None:
    """Declare the command."""
    about = "The file of expected accuracies, by default expected_accuracy.yaml."
    expected = commands.add_parser("expected", help="check, or add to, the expected accuracies", description=about)
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
    about = "Add the accuracies of a run, such as of a team's own models, to a copy of the file, without its comments."
    recording = actions.add_parser("record", help="add the values of a run to the file", description=about)
    recording.add_argument("run_folder", metavar="RUN", type=Path, help="folder of --results, of a whole dataset")
    recording.add_argument("--expected", dest="file", type=Path, default=default_file(Path()), help=file)
    recording.add_argument("-o", "--output", metavar="FILE", type=Path, help="write to this file (default: print)")
    recording.set_defaults(run=_record)
    about = "Show the ids that --models takes, with the expected top-1 and top-5 accuracy in percent by dataset."
    listing = commands.add_parser("list-models", help="show models and their expected accuracy", description=about)
    listing.add_argument("--expected", dest="file", metavar="FILE", type=Path, default=default_file(Path()), help=file)
    listing.set_defaults(run=_list)


def _list(options: argparse.Namespace) -> int:
    tables: dict[str, list[Row]] = {}
    for entry in read_expected(options.file):
        for dataset in entry.expected or ["not judged"]:
            expected = entry.expected_on(dataset)
            values = [number(expected.counts.percent(metric) if expected else None, ".3f") for metric in METRICS]
            row = [(f"<{dataset}", str(entry.spec)), *zip(METRICS.values(), values, strict=True)]
            tables.setdefault(dataset, []).append(row)
    print(*as_text([Section("", table_of(rows)) for rows in tables.values()]), sep="\n")
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


def _record(options: argparse.Namespace) -> int:
    record = read_run(options.run_folder).record
    dataset = record.dataset
    if dataset is None or not record.cases:
        raise ResultsError(f"{options.run_folder}: expected a run with evaluated models, found none")
    if dataset.images < dataset.total:
        whole = f"expected a run of all {dataset.total:,} images of {dataset.name}, found {dataset.images:,}"
        raise ResultsError(f"{options.run_folder}: {whole}; run again without --limit")
    read_expected(options.file)  # rejects what is wrong
    document = yaml.safe_load(options.file.read_text(encoding="utf-8"))
    source = f"Recorded {record.created[:10]} with torch {record.environment.torch}."
    facts = {"images": dataset.images, "origin": "recorded", "source": source}
    if document["datasets"].setdefault(dataset.name, facts).get("origin") != "recorded":
        published = f"expected values of {dataset.name} that were recorded, found published ones"
        raise ResultsError(f"{options.file}: {published}; --baseline compares a run with an earlier one")
    models = {f"{model['model']}-{model['weights']}": model for model in document["models"]}
    cases = sorted(record.cases, key=lambda case: case.setting_order, reverse=True)  # at last in fp32
    for name, case in {f"{case.model}-{case.weights}": case for case in cases}.items():
        if case.precision != DEFAULT.precision:  # the file has one value for all precisions
            found = f"expected each model evaluated in fp32, found {name} in {case.precision} alone"
            raise ResultsError(f"{options.run_folder}: {found}; run again with --precision fp32")
        if name not in models:
            lacks = f"expected the models of {options.run_folder}, found none called {name}"
            raise ResultsError(f"{options.file}: {lacks}; give the --expected FILE of that run")
        top1, top5 = (round(case.counts.percent(metric), 6) for metric in METRICS)
        models[name][dataset.name] = {**models[name].get(dataset.name, {}), "acc@1": top1, "acc@5": top5}
    write_or_print(options.output, yaml.safe_dump(document, sort_keys=False, default_flow_style=None, width=120))
    return 0


def disagreements(entries: Iterable[Entry], published: Mapping[str, tuple[float, float]]) -> list[str]:
    """Say where the values for imagenet-1k differ from those published, and which weights only one of the two has."""
    ours = {
        str(entry.spec): expected.counts
        for entry in entries
        if entry.spec.builder is None  # which others are not torchvision's
        and (expected := entry.expected_on("imagenet-1k"))
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
