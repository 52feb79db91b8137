"""Reads and validates ``expected_accuracy.yaml``; an error names the file, the key and the reason."""

from __future__ import annotations

import importlib
import reprlib
import traceback
from collections.abc import Mapping
from contextlib import suppress
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import yaml

from harness.errors import ExpectedError, HarnessError
from harness.expected import DEFAULT_FILE, Entry, ModelSpec
from harness.precision import PRECISIONS
from harness.preset import Geometry, Preset
from harness.records.evidence import Counts, Expected
from harness.records.run_folder import read_whole

SCHEMA_VERSION = 2


class _Accuracy(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"acc1": "acc@1", "acc5": "acc@5"}):
    acc1: Decimal
    acc5: Decimal
    tolerance: Any = None

    def __post_init__(self) -> None:
        for name, value in (("acc@1", self.acc1), ("acc@5", self.acc5)):
            if not (value.is_finite() and 0 <= value <= 100):
                raise ValueError(f"{name} must be percent between 0 and 100, found {value}")
            if 0 < value <= 1:
                raise ValueError(f"{name} must be percent, such as {100 * value:f}; {value} looks like a fraction")
        if self.acc5 < self.acc1:
            raise ValueError(f"acc@5 must be at least acc@1, found {self.acc5} and {self.acc1}")


class _Dataset(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    images: Annotated[int, msgspec.Meta(ge=1)]
    source: Annotated[str, msgspec.Meta(min_length=1)]
    tolerance: Any = None
    origin: Literal["published", "recorded"] = "published"


_Channel = Annotated[float, msgspec.Meta(ge=0, le=1)]
_Pixels = Annotated[int, msgspec.Meta(ge=1)]


class _Preset(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    resize: _Pixels
    crop: _Pixels
    interpolation: Literal["nearest", "bilinear", "bicubic"]
    mean: tuple[_Channel, _Channel, _Channel]
    std: tuple[_Channel, _Channel, _Channel]

    def __post_init__(self) -> None:
        if self.crop > self.resize:
            raise ValueError(f"crop must be at most resize, found {self.crop} and {self.resize}")
        if 0 in self.std:
            raise ValueError(f"std must not be 0, found {self.std}")


class _Model(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    model: Annotated[str, msgspec.Meta(min_length=1)]
    weights: Annotated[str, msgspec.Meta(min_length=1)]
    builder: Annotated[str, msgspec.Meta(pattern="^[^:]+:[^:]+$")] | None = None
    preset: _Preset | None = None

    def __post_init__(self) -> None:
        if (self.builder is None) != (self.preset is None):
            raise ValueError("builder and preset go together: torchvision's own models bring their preset")


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    schema_version: int
    tolerance: Any
    datasets: dict[str, _Dataset]
    models: list[dict[str, Any]]


def default_file(folder: Path) -> Path:
    """Return the file of expected accuracies in a folder, or else the project's own."""
    own = folder / DEFAULT_FILE
    return own if own.exists() else Path(__file__).parents[1] / DEFAULT_FILE


def read_expected(path: Path) -> tuple[Entry, ...]:
    """Read and check the whole file; what is wrong is an ExpectedError."""
    document = read_yaml(path)
    if not isinstance(document, dict):
        raise ExpectedError(f"{path}: expected a mapping with the keys schema_version, tolerance, datasets and models")
    if (version := document.get("schema_version")) != str(SCHEMA_VERSION):
        found = f"schema_version must be {SCHEMA_VERSION}, found {reprlib.repr(version):.80}"
        renamed = "'splits' for 'datasets' and 'embedded' for 'synthetic': rename them and raise the version"
        raise ExpectedError(f"{path}: {found}; version 1 has {renamed}")
    listed: _File = _convert(document, _File, str(path))
    general = _tolerances(listed.tolerance, f"{path}: tolerance", {})
    if "fp32" not in general:
        raise ExpectedError(f"{path}: tolerance: 'fp32' is missing, which holds for all precisions that have none")
    if clash := sorted({"model", "weights", "builder", "preset"} & listed.datasets.keys()):
        raise ExpectedError(f"{path}: datasets: {clash[0]!r} is a key of models; give the dataset another name")
    tolerances = {
        name: _tolerances(dataset.tolerance, f"{path}: datasets.{name}.tolerance", general)
        for name, dataset in listed.datasets.items()
    }
    entries: dict[str, Entry] = {}
    for number, values in enumerate(listed.models):
        entry = _entry(values, f"{path}: models[{number}]", listed.datasets, tolerances)
        if (identity := str(entry.spec)) in entries:
            raise ExpectedError(f"{entry.where}: {identity} is listed twice, first in {entries[identity].where}")
        entries[identity] = entry
    return tuple(entries.values())


def read_yaml(path: Path) -> Any:
    """Return what a YAML file holds, nested text; what is wrong is an ExpectedError."""
    try:
        return yaml.load(read_whole(path).decode(), _Loader)
    except OSError as error:
        raise ExpectedError(f"{path}: cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # a ValueError is text that is not UTF-8
        raise ExpectedError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error


class _Loader(yaml.BaseLoader):
    """YAML whose scalars all stay text, to be converted by the schema; a key that is repeated is an error."""

    def construct_scalar(self, node: Any) -> Any:
        text = super().construct_scalar(node)
        if "_" in text or not text.isascii():
            with suppress(InvalidOperation):
                Decimal(text)  # reads underscores, as YAML 1.1 does, and the digits of all scripts
                line = node.start_mark.line + 1
                raise yaml.YAMLError(f"expected a number in the digits 0 to 9 in line {line}, found {text!r}")
        return text

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for position, key in enumerate(keys):
            if key in keys[:position]:
                raise yaml.YAMLError(f"key {key!r} is repeated in line {node.value[position][0].start_mark.line + 1}")
        return super().construct_mapping(node, deep)


def _convert(value: Any, kind: Any, where: str) -> Any:
    """Return ``value``, nested text, as ``kind``; an error begins with ``where``, as in the functions below."""
    try:
        return msgspec.convert(value, kind, strict=False)
    except msgspec.ValidationError as error:
        # Abridged by reprlib, since aliases can make nested values endless.
        raise ExpectedError(f"{where}: {error}; found {reprlib.repr(value):.80}") from None


def _tolerances(value: Any, where: str, outer: Mapping[str, Decimal]) -> Mapping[str, Decimal]:
    """Return ``outer`` with the tolerances given here: one number for all precisions, or some by name."""
    if value is None:
        return outer
    given = value if isinstance(value, dict) else {"fp32": value}
    if unknown := [name for name in given if name not in PRECISIONS]:
        raise ExpectedError(f"{where}: expected {', '.join(PRECISIONS)}, found {unknown[0]!r}")
    found = {name: _convert(number, Decimal, f"{where}.{name}") for name, number in given.items()}
    if wrong := [number for number in found.values() if not (number.is_finite() and 0 <= number <= 100)]:
        raise ExpectedError(f"{where}: expected points between 0 and 100, found {wrong[0]}")
    return {**outer, **found} if isinstance(value, dict) else found


def _entry(
    values: dict[str, Any], where: str, datasets: dict[str, _Dataset], tolerances: Mapping[str, Mapping[str, Decimal]]
) -> Entry:
    """Return one entry of ``models``; tolerances are by dataset."""
    model: _Model = _convert({name: value for name, value in values.items() if name not in datasets}, _Model, where)
    given = model.preset
    preset = Preset(Geometry(given.resize, given.crop, given.interpolation), given.mean, given.std) if given else None
    spec = ModelSpec(model.model, model.weights, model.builder, preset)
    expected = {}
    for name, dataset in datasets.items():
        if name in values:
            accuracy: _Accuracy = _convert(values[name], _Accuracy, f"{where} ({spec}): {name}")
            allowed = _tolerances(accuracy.tolerance, f"{where} ({spec}): {name}.tolerance", tolerances[name])
            top1, top5 = (round(value * dataset.images / 100) for value in (accuracy.acc1, accuracy.acc5))
            counts = Counts(dataset.images, top1, top5)
            expected[name] = {key: Expected(counts, value, dataset.origin) for key, value in allowed.items()}
    return Entry(spec, expected, where)


def build(spec: ModelSpec) -> Any:
    """Return what a model's builder returns; an ExpectedError says why it cannot be imported or called, and where."""
    module_name, function_name = str(spec.builder).split(":")
    if module_name.startswith("."):
        expected = "builder must name its module from the top, such as package.module:function"
        raise ExpectedError(f"{spec}: {expected}, found the relative {spec.builder!r}")
    what = "cannot be imported"
    try:
        function = getattr(importlib.import_module(module_name), function_name)
        if not callable(function):
            raise ExpectedError(f"{spec}: builder {spec.builder!r} must be a function, found {function!r}")
        what = "failed"
        return function()
    except (HarnessError, MemoryError):
        raise
    except Exception as error:  # whatever a user's code raises
        frame = traceback.extract_tb(error.__traceback__)[-1]
        where = "" if isinstance(error, SyntaxError) else f" ({Path(frame.filename).name}, line {frame.lineno})"
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise ExpectedError(f"{spec}: builder {spec.builder!r} {what}: {reason}{where}") from error
