"""Tests of harness.gate.cases."""

from __future__ import annotations

from decimal import Decimal

import pytest

from harness.errors import ExpectedError
from harness.evaluation.setting import Setting
from harness.evaluation.spec import ModelSpec
from harness.gate.cases import Case, select_cases
from harness.gate.expected import Entry, Expected
from harness.gate.scores import TopK


def _entry(model: str, weights: str = "IMAGENET1K_V1", *splits: str) -> Entry:
    expected = Expected(TopK(500, 250, 400), Decimal("0.05"), "published")
    return Entry(ModelSpec(model, weights), tuple((split, expected) for split in splits))


ENTRIES = (
    _entry("alexnet", "EMBEDDED_V1", "embedded"),
    _entry("vgg16", "EMBEDDED_V1", "embedded"),
    _entry("alexnet", "IMAGENET1K_V1", "imagenet-1k"),
    _entry("googlenet", "IMAGENET1K_V1", "imagenet-1k"),
    _entry("resnet18", "IMAGENET1K_V1", "imagenet-1k", "imagenetv2"),
    _entry("resnet50", "IMAGENET1K_V1", "imagenet-1k"),
    _entry("resnet50", "IMAGENET1K_V2", "imagenet-1k"),
    _entry("vgg16", "IMAGENET1K_V1", "imagenet-1k"),
    _entry("own", "RELEASE"),
)


def _selected(*wanted: str, embedded: bool = False) -> list[str]:
    return [str(case) for case in select_cases(ENTRIES, wanted, [Setting()], embedded=embedded)]


def test_id_of_a_case_is_stable() -> None:
    """The id is model, weights and precision; tests, records and baselines are found by it."""
    expected = "resnet18-IMAGENET1K_V1-fp32"

    actual = str(Case(_entry("resnet18"), Setting()))

    assert expected == actual


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        pytest.param(
            ["core"],
            [
                "alexnet-IMAGENET1K_V1-fp32",
                "googlenet-IMAGENET1K_V1-fp32",
                "resnet18-IMAGENET1K_V1-fp32",
                "vgg16-IMAGENET1K_V1-fp32",
            ],
            id="core is the four",
        ),
        pytest.param(["resnet18"], ["resnet18-IMAGENET1K_V1-fp32"], id="name"),
        pytest.param(
            ["resnet50"], ["resnet50-IMAGENET1K_V1-fp32", "resnet50-IMAGENET1K_V2-fp32"], id="name with two weights"
        ),
        pytest.param(["resnet50-IMAGENET1K_V2"], ["resnet50-IMAGENET1K_V2-fp32"], id="id"),
        pytest.param(["own"], ["own-RELEASE-fp32"], id="without expected values on any split"),
        pytest.param(["*net50*V1"], ["resnet50-IMAGENET1K_V1-fp32"], id="glob of an id"),
        pytest.param(["*-RELEASE", "vgg??"], ["vgg16-IMAGENET1K_V1-fp32", "own-RELEASE-fp32"], id="order of the file"),
        pytest.param(
            ["resnet18", "resnet[0-9]8", "resnet18-*", "core", "own", "resnet18"],
            [
                "alexnet-IMAGENET1K_V1-fp32",
                "googlenet-IMAGENET1K_V1-fp32",
                "resnet18-IMAGENET1K_V1-fp32",
                "vgg16-IMAGENET1K_V1-fp32",
                "own-RELEASE-fp32",
            ],
            id="each once",
        ),
    ],
)
def test_selection(wanted: list[str], expected: list[str]) -> None:
    """Names, globs, ids and the word ``core`` select models, in the order of the file, each once."""
    actual = _selected(*wanted)

    assert expected == actual


def test_all_is_everything_but_the_embedded_splits_models() -> None:
    """``all`` on images from disk leaves out the models that only know the embedded split."""
    actual = _selected("all")

    expected = [f"{entry.spec}-fp32" for entry in ENTRIES[2:]]
    assert expected == actual


@pytest.mark.parametrize("wanted", ["core", "all", "*"])
def test_on_the_embedded_split_its_own_models_are_selected(wanted: str) -> None:
    """On the embedded split ``core`` and ``all`` are the models that it has weights for."""
    expected = ["alexnet-EMBEDDED_V1-fp32", "vgg16-EMBEDDED_V1-fp32"]

    actual = _selected(wanted, embedded=True)

    assert expected == actual


def test_name_of_both_kinds_is_the_one_of_the_split() -> None:
    """A name that has weights for either kind of split means those for the one that is evaluated."""
    expected = ["vgg16-IMAGENET1K_V1-fp32"], ["vgg16-EMBEDDED_V1-fp32"]

    actual = _selected("vgg16", embedded=False), _selected("vgg16", embedded=True)

    assert expected == actual


def test_core_of_a_file_without_the_four_is_the_whole_file() -> None:
    """A team's file that holds none of the four is evaluated as a whole by default."""
    entries = [_entry("own", "V1", "imagenet-1k"), _entry("other", "V1", "imagenet-1k")]

    actual = [str(case) for case in select_cases(entries, ["core"], [Setting()], embedded=False)]

    expected = ["own-V1-fp32", "other-V1-fp32"]
    assert expected == actual


def test_each_model_comes_in_each_precision() -> None:
    """Precisions vary fastest, in the order asked for, so that a model's cases stand together."""
    actual = [str(case) for case in select_cases(ENTRIES, ["resnet50"], [Setting(), Setting("bf16")], embedded=False)]

    expected = [
        "resnet50-IMAGENET1K_V1-fp32",
        "resnet50-IMAGENET1K_V1-bf16",
        "resnet50-IMAGENET1K_V2-fp32",
        "resnet50-IMAGENET1K_V2-bf16",
    ]
    assert expected == actual


@pytest.mark.parametrize(
    ("wanted", "embedded", "expected"),
    [
        pytest.param(
            "resnt18",
            False,
            "--models: 'resnt18' matches no model in the file of expected values (nearest: 'resnet18')",
            id="nearest name",
        ),
        pytest.param(
            "resnet18-IMAGENET1K_V2",
            False,
            "--models: 'resnet18-IMAGENET1K_V2' matches no model in the file of expected values "
            "(nearest: 'resnet18-IMAGENET1K_V1')",
            id="nearest id",
        ),
        pytest.param(
            "zzz*",
            False,
            "--models: 'zzz*' matches no model in the file of expected values "
            "(--models all --collect-only -q lists them)",
            id="nothing is near",
        ),
        pytest.param(
            "vgg11",
            True,
            "--models: 'vgg11' matches no model with weights for the embedded split (nearest: 'vgg16')",
            id="not embedded",
        ),
    ],
)
def test_what_matches_nothing_is_refused(wanted: str, embedded: bool, expected: str) -> None:
    """A name that selects nothing is an error even beside names that do, and says what would be near."""
    with pytest.raises(ExpectedError) as refusal:
        _selected("alexnet", wanted, embedded=embedded)

    assert expected == str(refusal.value)


def test_precision_twice_is_one_case() -> None:
    """``--precision fp32,fp32`` asks for one case; two of one id would overwrite each other's record."""
    cases = select_cases([ENTRIES[4]], ["resnet18"], [Setting(), Setting()], embedded=False)

    assert len(cases) == 1


@pytest.mark.parametrize(
    ("entries", "wanted", "settings", "embedded"),
    [
        ([ENTRIES[4]], [], [Setting()], False),
        ([ENTRIES[4]], ["core"], [Setting()], True),
        ([], ["all"], [Setting()], False),
    ],
)
def test_no_case_at_all_is_an_error(
    entries: list[Entry], wanted: list[str], settings: list[Setting], embedded: bool
) -> None:
    """Nothing selected is a user's mistake, to be told as one."""
    with pytest.raises(ExpectedError):
        select_cases(entries, wanted, settings, embedded=embedded)


def test_model_with_values_on_both_kinds_of_split_is_selected_on_embedded() -> None:
    """An entry that names ``embedded`` among its splits can be evaluated there."""
    expected = Expected(TopK(500, 1, 2), Decimal("0.4"), "recorded")
    entry = Entry(ModelSpec("net", "V1"), (("imagenet-1k", expected), ("embedded", expected)))

    assert select_cases([entry], ["net"], [Setting()], embedded=True)


@pytest.mark.parametrize("wanted", ["RESNET50", "Resnet50*", "resnet50-imagenet1k_v?"])
def test_letter_case_does_not_matter(wanted: str) -> None:
    """Names are found however they are capitalized."""
    assert set(_selected(wanted)) == set(_selected("resnet50"))
