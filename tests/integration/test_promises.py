"""Figures and lists in README.md, CONTRIBUTING.md and docs/ are those of the code, its data and the measurements."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness import hooks
from harness.baseline.pairing import NOISE_FLOORS
from harness.expected import DEFAULT_FILE
from harness.models import geometry_of
from harness.precision import PRECISIONS
from harness.records import evidence
from harness.records.accuracy_file import read_expected
from harness.records.evidence import Counts
from harness.verdict import judge
from tests.documents import ROOT

README = (ROOT / "README.md").read_text()
ENTRIES = read_expected(ROOT / DEFAULT_FILE)


def docs(name: str) -> str:
    """Return a page of docs/."""
    return (ROOT / "docs" / name).read_text()


def rows(page: str, heading: str) -> list[list[str]]:
    """Return the rows of the only table of a page below a heading, without its head."""
    text = page.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    table = (line.strip("|").split("|") for line in text.splitlines() if line.startswith("|"))
    return [[cell.strip() for cell in cells] for cells in table][2:]


@pytest.mark.parametrize(
    ("pages", "limit"),
    [([ROOT / "README.md"], 900), (sorted((ROOT / "docs").glob("*.md")), 9_000)],
    ids=["README", "docs"],
)
def test_pages_have_at_most_so_many_words(pages: list[Path], limit: int) -> None:
    """What is longer is not read."""
    assert sum(len(page.read_text().split()) for page in pages) <= limit


def test_the_faults_that_are_found_are_those_measured() -> None:
    """In README.md and docs/baseline.md as in the table of docs/measurements/faults.md."""
    measured = docs("measurements/faults.md")
    faults = rows(measured, "EfficientNet-Lite0 on 500 real images")
    by_accuracy = sum(row[2].startswith("fails") for row in faults)
    by_baseline = [sum(row[5] == outcome for row in faults) for outcome in ("failed", "warning")]
    found = [len(faults), by_accuracy, *by_baseline]
    said = [
        r"(\d+) faults: the accuracy check fails on (\d+), the comparison fails on (\d+), it warns of (\d+)",
        r"(\d+) planted faults\]\S*, the accuracy check fails on (\d+), the comparison with a baseline on (\d+)\.",
        r"(\d+) planted faults\]\S*, the accuracy check fails on (\d+), the comparison on (\d+)\.",
    ]
    for pattern, page in zip(said, (measured, README, docs("baseline.md")), strict=True):
        [numbers] = re.findall(pattern, " ".join(page.split()))
        assert found[: len(numbers)] == list(map(int, numbers))


@pytest.mark.parametrize(
    ("declared", "page", "heading"),
    [
        ([name for name in vars(hooks) if name.startswith("pytest_imagenet_")], "extending.md", "Hooks"),
        (
            [v for name, v in vars(evidence).items() if name.isupper() and isinstance(v, str)],
            "baseline.md",
            "The diagnosis",
        ),
    ],
    ids=["hooks", "stages"],
)
def test_each_has_a_row(declared: list[str], page: str, heading: str) -> None:
    """In a table, which has no others."""
    assert sorted(declared) == sorted(row[0].strip("`") for row in rows(docs(page), heading))


def test_the_tolerances_are_those_of_the_file() -> None:
    """Of each precision, on ImageNet and on the synthetic dataset, in docs/precision.md; each has a noise floor."""
    said = {name: row[1:] for row in rows(docs("precision.md"), "Tolerance") for name in row[0].split(", ")}

    for name in PRECISIONS:
        found = [
            {float(expected.tolerance) for entry in ENTRIES if (expected := entry.expected_on(dataset, name))}
            for dataset in ("imagenet-1k", "synthetic")
        ]
        assert [{float(cell)} for cell in said[name]] == found
    assert list(PRECISIONS) == list(NOISE_FLOORS)


def test_the_failure_of_densenet201() -> None:
    """In docs/reading_a_fail.md: what is printed for the counts that timm measured."""
    [entry] = [entry for entry in ENTRIES if entry.spec.model == "densenet201"]

    verdict = judge(Counts(50_000, 38_642, 46_740), entry.expected_on("imagenet-1k"), "", None)

    assert f"\ndensenet201: {verdict}\n" in docs("reading_a_fail.md")


def test_the_size_of_the_store() -> None:
    """In README.md and docs/data.md: of one geometry of 224 x 224, and of all that the models need."""
    geometries = {
        geometry_of(entry.spec) for entry in ENTRIES if entry.spec.builder is None and "imagenet-1k" in entry.expected
    }
    size = sum(50_000 * geometry.crop**2 * 3 for geometry in geometries) / 1e9

    for text in (README, docs("data.md")):
        assert f"{50_000 * 224**2 * 3 / 1e9:.1f} GB" in text
        assert f"{size:.0f} GB" in text
        assert f"{len(geometries)} geometries" in " ".join(text.split())


def test_the_reading_order_names_every_file_of_the_core() -> None:
    """In CONTRIBUTING.md; __init__ and errors need no reading."""
    page = (ROOT / "CONTRIBUTING.md").read_text().partition("\n## The code, in reading order\n")[2]
    named = set(re.findall(r"`(\w+\.py)`", page.partition("\n## ")[0]))

    core = {path.name for path in (ROOT / "harness").glob("*.py")}
    assert core - named == {"__init__.py", "__main__.py", "errors.py"}
