"""Tests of harness.records.results and environment: the schema of ``record.json``, and what follows from a result."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from harness.errors import RecordError
from harness.records.environment import Environment
from harness.records.evidence import (
    Bounds,
    ChangedPrediction,
    Counts,
    Diagnosis,
    Drift,
    NoiseFloor,
    Pairing,
    Policy,
    Unpaired,
)
from harness.records.results import DatasetFacts, Missing, Record, plain, record_json
from harness.records.run_folder import read_run
from tests.records import ENVIRONMENT, case_result, expected, run_record, timing_result

PAIRING = Pairing(
    "resnet18-IMAGENET1K_V1-fp32", 1000, 3, 1, 4, 1, 1, 0.25, Drift(1e-6, 2e-6, 3e-6),
    NoiseFloor(1e-5, 1e-3, 1e-3, 500),
    Diagnosis("arithmetic", "found"), True, ("torch 2.9.1 -> 2.14.1",),
    (ChangedPrediction("ü.JPEG", 1, 2, True, False, 0.25, False),), Policy(strict_drift=True),
)  # fmt: skip
CASE = case_result(
    baseline=PAIRING,
    bounds=(Bounds("calibration", 0.5, 0.0, None, "of 15 bins"),),
    preparation={"decoder": "pillow", "crop": 224, "mean": [0.485, 0.456, 0.406]},
    switches={"cudnn.allow_tf32": False},
    first_input={"id": "a.JPEG", "sha256": "f1r5t", "low": -2.0, "high": 2},
    notes=("evaluated in batches of 8",),
    known_issues={"calibration": "measured in a hurry"},
    inputs_digest="1nput5",
)
CASES = (
    CASE,
    case_result("vgg16", expected=None, unpublished="none", baseline=Unpaired("totals", "counts", Counts(9, 1, 2))),
    case_result("alexnet", expected=expected(50_000, 34_879, 44_539, "0.045", "recorded")),
)
TIMINGS = (
    timing_result(seconds=(0.1, 1 / 3), device_seconds=0.24, clocks={"sm_mhz": 1980, "throttled": ["power cap"]}),
    timing_result("vgg16", peak_memory=None, yardstick=0.125),
)
RECORD = msgspec.structs.replace(
    run_record([*CASES, Missing("googlenet-fp32", "error", "no weights")], [*TIMINGS, Missing("googlenet-b32")]),
    commands=("pytest -m imagenet", "pytest -k 'a b'"),
    dataset=DatasetFacts("imagenet-1k", "d1ge57", 1000, 50_000, 2, ("tench", "<goldfish>")),
)


def _read(tmp_path: Path, values: dict[str, Any]) -> Record:
    (tmp_path / "record.json").write_text(json.dumps(values))
    return read_run(tmp_path / "record.json").record


def _values() -> dict[str, Any]:
    values: dict[str, Any] = json.loads(record_json(RECORD))
    return values


def test_the_json_of_a_case_is_as_documented() -> None:
    """Others read these keys: counts, expected, tolerance, checks, outcome, seconds by phase, digests."""
    values = _values()

    assert values["schema_version"] == "3.2"
    assert values["missing_cases"] == [{"id": "googlenet-fp32", "outcome": "error", "detail": "no weights"}]
    found = values["cases"][0]
    checks = found.pop("checks")
    assert [(check["name"], check["outcome"], check["could_miss"]) for check in checks] == [
        ("top-1", "passed", 0.0), ("top-5", "passed", 0.0), ("baseline", "failed", 0.0), ("calibration", "passed", 0.0),
    ]  # fmt: skip
    assert found.pop("baseline")["kind"] == "paired"
    assert found == {
        "id": "resnet18-IMAGENET1K_V1-fp32",
        "model": "resnet18",
        "weights": "IMAGENET1K_V1",
        "precision": "fp32",
        "memory_format": "channels_last",
        "compiled": False,
        "dataset": "imagenet-1k",
        "counts": {"images": 1000, "top1": 700, "top5": 900},
        "expected": {"counts": {"images": 1000, "top1": 700, "top5": 900}, "tolerance": "0.05", "origin": "published"},
        "unpublished": "",
        "outcome": "failed",
        "bounds": [{"name": "calibration", "value": 0.5, "low": 0.0, "high": None, "detail": "of 15 bins"}],
        "seconds": {"decode": 0.25, "load": 0.5, "transfer": 0.125, "forward": 0.75, "total": 1.75},
        "images_per_second": 1234.5,
        "batch_size": 256,
        "parameters": 11_689_512,
        "gmacs": 1.814,
        "weights_sha256": "5ha256",
        "inputs_digest": "1nput5",
        "preparation": {"decoder": "pillow", "crop": 224, "mean": [0.485, 0.456, 0.406]},
        "switches": {"cudnn.allow_tf32": False},
        "first_input": {"id": "a.JPEG", "sha256": "f1r5t", "low": -2.0, "high": 2},
        "notes": ["evaluated in batches of 8"],
        "known_issues": {"calibration": "measured in a hurry"},
        "issues_over": [],
    }


def test_later_versions_of_schema_3_are_read(tmp_path: Path) -> None:
    """Fields that this version does not know are ignored, at every level; the version found is kept."""
    values = _values()

    def extend(value: Any) -> None:
        for part in list(value.values()) if isinstance(value, dict) else value:
            if isinstance(part, dict | list):
                extend(part)
        if isinstance(value, dict):
            value["new in 3.14"] = {"any": ["thing"]}

    for part in ("environment", "dataset", "cases", "timings", "missing_cases", "missing_timings"):
        extend(values[part])
    for case in values["cases"]:  # these hold whatever was recorded
        for name in ("preparation", "switches", "first_input", "known_issues"):
            case[name].pop("new in 3.14")
        if case["baseline"]:
            case["baseline"]["policy"].get("noise_floors", {}).pop("new in 3.14", None)
    for timing in values["timings"]:
        for name in ("warm_up", "clocks"):
            (timing[name] or {}).pop("new in 3.14", None)

    read = _read(tmp_path, {**values, "schema_version": "3.14", "new": 1})

    assert read == msgspec.structs.replace(RECORD, schema_version="3.14")


def test_the_first_version_of_schema_3_is_read(tmp_path: Path) -> None:
    """With the fields that it required and no other; whoever makes one of the others required breaks this."""
    setting = {"id": "a-V1-fp32", "model": "a", "weights": "V1", "precision": "fp32", "memory_format": "contiguous"}
    case = {**setting, "compiled": True, "dataset": "own", "counts": {"images": 2, "top1": 1, "top5": 2}}
    facts = {"name": "own", "digest": "d", "images": 2, "total": 2, "classes": 1}
    timing: dict[str, Any] = {
        **setting, "compiled": False, "batch_size": 1, "seconds": [1], "device_seconds": None, "gmacs": 1,
        "peak_tflops": 1, "peak_memory": None, "warm_up": {}, "yardstick": None, "clocks": None,
    }  # fmt: skip
    values = {"schema_version": "3.0", "created": "", "environment": {}, "dataset": facts, "cases": [case]}

    [read] = _read(tmp_path, values).cases

    assert (read.counts, read.expected, read.baseline, read.bounds) == (Counts(2, 1, 2), None, None, ())
    assert read.conditions == {}
    assert read.outcome == "failed"
    assert _read(tmp_path, {**values, "cases": [], "timings": [timing]}).timings[0].seconds == (1,)


@pytest.mark.parametrize("version", [2, "2", "2.9", "4.0", 3, None])
def test_other_schemas_are_an_error_in_one_sentence(version: object, tmp_path: Path) -> None:
    """Whatever else is in the file."""
    with pytest.raises(RecordError) as raised:
        _read(tmp_path, {"schema_version": version})

    assert str(raised.value) == (
        f"{tmp_path / 'record.json'}: schema_version must be 3.x, found {version!r}: read it with the version that "
        "wrote it, or run again"
    )


def _set(*path: str | int, to: Any) -> Callable[[dict[str, Any]], object]:
    def change(values: Any) -> None:
        for key in path[:-1]:
            values = values[key]
        values[path[-1]] = to

    return change


def _delete(*path: str | int) -> Callable[[dict[str, Any]], object]:
    def change(values: Any) -> None:
        for key in path[:-1]:
            values = values[key]
        del values[path[-1]]

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_delete("cases", 0, "counts"), r"missing required field `counts` - at `\$\.cases\[0\]`"),
        (_delete("environment"), r"missing required field `environment`"),
        (_set("cases", 0, "counts", "top1", to=-1), r"`int` >= 0"),
        (_set("cases", 0, "counts", "top1", to=901), r"top1 <= top5 <= images, found 901, 900 and 1000"),
        (_set("cases", 0, "counts", "images", to=0), r"`int` >= 1"),
        (_set("cases", 0, "parameters", to=True), r"Expected `int`, got `bool`"),
        (_set("cases", 0, "parameters", to=-1), r"`int` >= 0"),
        (_set("cases", 0, "gmacs", to=1e308), r"`float` <= "),
        (_set("cases", 0, "images_per_second", to=-1), r"`float` >= 0"),
        (_set("cases", 0, "precision", to="fp99"), r"precision must be one of fp32, .*'fp99'"),
        (_set("cases", 0, "memory_format", to="any"), r"memory_format must be one of channels_last, .*'any'"),
        (_set("cases", 0, "model", to="a\x1b[1m"), r"matching regex"),
        (_set("cases", 0, "baseline", "kind", to="other"), r"Invalid value 'other'"),
        (_set("cases", 0, "baseline", "drift", "median", to=-1e-9), r"`float` >= 0"),
        (_set("cases", 1, "id", to=CASE.id), rf"two results have the id '{CASE.id}'"),
        (_set("missing_cases", 0, "id", to=CASE.id), rf"two results have the id '{CASE.id}'"),
        (_set("missing_cases", 0, "outcome", to="passed"), r"Invalid enum value 'passed'"),
        (_set("dataset", to=None), r"cases without a dataset"),
        (_set("dataset", "name", to="\n"), r"matching regex"),
        (_set("environment", "cpu", to="\x00"), r"matching regex"),
        (_set("timings", 0, "seconds", to=[]), r"length >= 1"),
        (_set("timings", 0, "seconds", to=[0.25, 0]), r"`float` >= 1e-09 - at `\$\.timings\[0\]\.seconds"),
        (_set("timings", 0, "batch_size", to=0), r"`int` >= 1"),
        (_set("timings", 0, "peak_tflops", to=0), r"`float` >= 1e-09"),
        (_set("cases", 0, "counts", "images", to=10**400), r"`int` <= |out of range"),
        (
            _set("cases", 0, "expected", "tolerance", to="Infinity"),
            r"expected a tolerance of 0 to 100 points, found Inf",
        ),
        (_set("cases", 0, "expected", "tolerance", to="NaN"), r"expected a tolerance of 0 to 100 points, found NaN"),
        (_set("cases", 0, "expected", "tolerance", to="1E+400"), r"expected a tolerance of 0 to 100 points, found 1E"),
        (_set("cases", 0, "expected", "tolerance", to="1E-999999"), r"expected a tolerance of 0 to 100 points"),
        (_set("cases", 0, "first_input", "low", to="x"), r"Expected `float`, got `str`"),
        (_set("cases", 0, "preparation", "crop", to=[[1]]), r"got `array`"),
        (_set("timings", 0, "warm_up", "calls", to="x"), r"got `str`"),
        (_set("commands", to=["a", 1]), r"Expected `str`, got `int` - at `\$\.commands"),
    ],
)
def test_what_no_run_can_have_written_is_an_error(
    change: Callable[[dict[str, Any]], object], reason: str, tmp_path: Path
) -> None:
    """In one sentence, with file and field."""
    values = _values()
    change(values)

    with pytest.raises(RecordError, match=rf"record\.json: not a valid record: .*({reason})") as raised:
        _read(tmp_path, values)

    assert "\n" not in str(raised.value)


def test_nan_is_not_written() -> None:
    """JSON has none; a reader in another language would stop at it."""
    with pytest.raises(ValueError, match="not JSON compliant"):
        record_json(run_record([case_result(preparation={"mean": float("nan")})]))


def test_a_verdict_follows_from_the_evidence() -> None:
    """Of every kind that a result holds."""
    low = Bounds("calibration", 0.5, 0.6)

    assert [check.name for check in CASE.verdict.checks] == ["top-1", "top-5", "baseline", "calibration"]
    assert CASES[1].verdict.checks[0].name == "baseline"
    assert case_result().outcome == "passed"
    assert case_result(bounds=(low,)).outcome == "failed"
    assert case_result(expected=expected(1000, 700, 899, "0.05")).outcome == "failed"
    assert case_result(expected=expected(1000, 700, 899, "0.1")).outcome == "passed"
    assert (
        case_result(expected=None, unpublished="why").verdict.checks[0].detail.startswith("why\n    measured on 1,000 ")
    )


def test_what_follows_from_the_calls() -> None:
    """Median, spread, images/s and operations, worked out here by hand."""
    timing = timing_result(seconds=(0.5, 0.25, 0.25, 0.75, 0.3), batch_size=6, gmacs=25.0, peak_tflops=4.0)

    # Quartiles 0.25 and 0.5; 6 / 0.3 = 20 images/s, each of 50 billion operations: 1 TFLOP/s of 4.
    found = timing.median, timing.spread, timing.images_per_second, timing.tflops, timing.share_of_peak
    assert found == pytest.approx((0.3, 0.25 / 0.3, 20.0, 1.0, 0.25))
    assert timing.info()["tflops"] == timing.tflops
    assert "seconds" not in timing.info()


def test_environments_are_compared_fact_by_fact() -> None:
    """Also where one of the two does not know a fact."""
    other = msgspec.structs.replace(ENVIRONMENT, torch="2.14.1", cuda=None)

    assert list(ENVIRONMENT.differences(other)) == [("torch", "2.9.1", "2.14.1"), ("cuda", "13.0", None)]
    assert Environment(torch="2.9.1").facts == {"torch": "2.9.1", "processes": 1}


@pytest.mark.parametrize("value", ["NaN", "Infinity", "1e400", '"\\ud800"'])
def test_what_is_no_json_is_an_error(value: str, tmp_path: Path) -> None:
    """Python's own reader would take it."""
    values = json.dumps(_values()).replace('"parameters": 11689512', f'"parameters": {value}')

    (tmp_path / "record.json").write_text(values)

    with pytest.raises(RecordError, match=r"record\.json: expected JSON "):
        read_run(tmp_path)


def test_an_outcome_that_its_checks_contradict_is_an_error(tmp_path: Path) -> None:
    """Of every version: the checks are those of the rules by which it was judged then."""
    values = _values()
    values["cases"][0]["outcome"] = "passed" if values["cases"][0]["outcome"] != "passed" else "failed"

    with pytest.raises(RecordError, match=rf"the outcome of {CASE.id} does not follow from its checks"):
        _read(tmp_path, values)


def test_a_record_that_other_rules_judged_is_read(tmp_path: Path) -> None:
    """Whoever changes a rule must not lose pinned baselines; what counts is what the rules of today say."""
    values = _values()
    case = values["cases"][0]
    case["outcome"] = {"passed": "failed"}.get(case["outcome"], "passed")
    case["checks"] = [{"name": "another rule", "outcome": case["outcome"], "detail": ""}]

    assert _read(tmp_path, values) == RECORD


def test_a_case_of_more_images_than_were_published_is_refused(tmp_path: Path) -> None:
    """No band could judge it."""
    values = plain(RECORD)
    case = values["cases"][0]
    case["expected"] = {"counts": {"images": 1, "top1": 1, "top5": 1}, "tolerance": "0.05"}

    with pytest.raises(RecordError, match=r"images, but published values of 1"):
        _read(tmp_path, values)
