"""Tests of harness.records.results and environment: the schema of ``record.json``, and what follows from a result."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from harness.errors import RecordError
from harness.records.evidence import Bounds, ChangedPrediction, Counts, NoiseFloor, Policy, Unpaired
from harness.records.results import DatasetFacts, Missing, Record, record_json
from harness.records.run_folder import read_run
from tests.records import ENVIRONMENT, case_result, expected, pairing, run_record, timing_result

PAIRING = pairing(
    changed=3,
    largest_margin=0.25,
    environment=("torch 2.9.1 -> 2.14.1",),
    examples=(ChangedPrediction("ü.JPEG", 1, 2, True, False, 0.25, False),),
    policy=Policy(strict_drift=True, noise_floors={"fp32": NoiseFloor(1e-5, 1e-3)}),
)
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
    """Others read these keys; fields are only added."""
    values = _values()

    assert "3.2" == values["schema_version"]
    assert [{"id": "googlenet-fp32", "outcome": "error", "detail": "no weights"}] == values["missing_cases"]
    found = values["cases"][0]
    assert found.keys() == {
        *("id", "model", "weights", "precision", "memory_format", "compiled", "dataset", "batch_size"),
        *("counts", "expected", "unpublished", "outcome", "checks", "baseline", "bounds"),
        *("seconds", "images_per_second", "parameters", "gmacs", "weights_sha256", "inputs_digest"),
        *("preparation", "switches", "first_input", "notes", "known_issues", "issues_over"),
    }
    assert {"images": 1000, "top1": 700, "top5": 900} == found["counts"]
    assert {"counts": found["counts"], "tolerance": "0.05", "origin": "published"} == found["expected"]
    assert {"decode": 0.25, "load": 0.5, "transfer": 0.125, "forward": 0.75, "total": 1.75} == found["seconds"]
    assert [{"name": "calibration", "value": 0.5, "low": 0.0, "high": None, "detail": "of 15 bins"}] == found["bounds"]
    assert ("paired", "failed") == (found["baseline"]["kind"], found["outcome"])
    checks = [(check["name"], check["outcome"], check["could_miss"]) for check in found["checks"]]
    assert [("top-1", "passed", 0.0), ("top-5", "passed", 0.0), ("baseline", "failed", 0.0)] == checks[:-1]


FREE = {"preparation", "switches", "first_input", "known_issues", "noise_floors", "warm_up", "clocks", "files"}
"""Fields that hold whatever was recorded."""


def _extended(value: Any, name: str = "") -> Any:
    """Return the values with a new field at every level."""
    if isinstance(value, list):
        return [_extended(part) for part in value]
    if not isinstance(value, dict) or name in FREE:
        return value
    return {**{key: _extended(part, key) for key, part in value.items()}, "new in 3.14": {"any": ["thing"]}}


def test_later_versions_of_schema_3_are_read(tmp_path: Path) -> None:
    """Fields that this version does not know are ignored, at every level; the version found is kept."""
    read = _read(tmp_path, {**_extended(_values()), "schema_version": "3.14"})

    assert msgspec.structs.replace(RECORD, schema_version="3.14") == read


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


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        ("cases 0 counts", ..., r"missing required field `counts` - at `\$\.cases\[0\]`"),
        ("cases 0 counts top1", -1, r"`int` >= 0"),
        ("cases 0 counts top1", 901, r"top1 <= top5 <= images, found 901, 900 and 1000"),
        ("cases 0 counts images", 0, r"`int` >= 1"),
        ("cases 0 counts images", 10**400, r"`int` <= |out of range"),
        ("cases 0 gmacs", 1e308, r"`float` <= "),
        ("cases 0 images_per_second", -1, r"`float` >= 0"),
        ("cases 0 precision", "fp99", r"precision must be one of fp32, .*'fp99'"),
        ("cases 0 memory_format", "any", r"memory_format must be one of channels_last, .*'any'"),
        ("cases 0 model", "a\x1b[1m", r"matching regex"),
        ("cases 0 baseline drift median", -1e-9, r"`float` >= 0"),
        ("cases 1 id", CASE.id, rf"two results have the id '{CASE.id}'"),
        ("missing_cases 0 id", CASE.id, rf"two results have the id '{CASE.id}'"),
        ("dataset", None, r"cases without a dataset"),
        ("timings 0 seconds", [], r"length >= 1"),
        ("timings 0 seconds", [0.25, 0], r"`float` >= 1e-09 - at `\$\.timings\[0\]\.seconds"),
        ("timings 0 batch_size", 0, r"`int` >= 1"),
        ("cases 0 expected counts", {"images": 1, "top1": 1, "top5": 1}, r"images, but published values of 1"),
        ("cases 0 expected tolerance", "Infinity", r"expected a tolerance of 0 to 100 points, found Inf"),
        ("cases 0 expected tolerance", "1E+400", r"expected a tolerance of 0 to 100 points, found 1E"),
        ("cases 0 expected tolerance", "1E-999999", r"expected a tolerance of 0 to 100 points"),
        ("cases 0 first_input low", "x", r"Expected `float`, got `str`"),
    ],
)
def test_what_no_run_can_have_written_is_an_error(path: str, value: Any, reason: str, tmp_path: Path) -> None:
    """In one sentence, with file and field."""
    values = _values()
    part: Any = values
    *parents, last = path.split()
    for name in parents:
        part = part[int(name) if name.isdigit() else name]
    part[last] = value
    if value is ...:
        del part[last]

    with pytest.raises(RecordError, match=rf"record\.json: not a valid record: [^\n]*({reason})[^\n]*\Z"):
        _read(tmp_path, values)


def test_nan_is_not_written() -> None:
    """JSON has none; a reader in another language would stop at it."""
    with pytest.raises(ValueError, match="not JSON compliant"):
        record_json(run_record([case_result(preparation={"mean": float("nan")})]))


def test_what_follows_from_the_calls() -> None:
    """Median, spread, images/s and operations, worked out here by hand."""
    timing = timing_result(seconds=(0.5, 0.25, 0.25, 0.75, 0.3), batch_size=6, gmacs=25.0, peak_tflops=4.0)

    # Quartiles 0.25 and 0.5; 6 / 0.3 = 20 images/s, each of 50 billion operations: 1 TFLOP/s of 4.
    expected = {"median": 0.3, "spread": 0.25 / 0.3, "images_per_second": 20.0, "tflops": 1.0, "share_of_peak": 0.25}
    found = timing.info()
    assert pytest.approx(expected) == {name: found[name] for name in expected}
    assert "seconds" not in found


def test_environments_are_compared_fact_by_fact() -> None:
    """Also where one of the two does not know a fact."""
    other = msgspec.structs.replace(ENVIRONMENT, torch="2.14.1", cuda=None)

    assert [("torch", "2.9.1", "2.14.1"), ("cuda", "13.0", None)] == list(ENVIRONMENT.differences(other))
    assert [("torch", "2.14.1", "2.9.1"), ("cuda", None, "13.0")] == list(other.differences(ENVIRONMENT))


def test_an_outcome_that_its_checks_contradict_is_an_error(tmp_path: Path) -> None:
    """The checks may be those of rules of before: who changes a rule must not lose pinned baselines."""
    values = _values()
    values["cases"][0]["outcome"] = "passed"

    with pytest.raises(RecordError, match=rf"the outcome of {CASE.id} does not follow from its checks"):
        _read(tmp_path, values)
    values["cases"][0]["checks"] = [{"name": "another rule", "outcome": "passed", "detail": ""}]
    assert RECORD == _read(tmp_path, values)
