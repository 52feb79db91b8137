"""``expected_accuracy.yaml``: read as a whole, or refused with file, key and reason."""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import dataclass
from decimal import Decimal
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from harness.data.preset import INTERPOLATIONS, Geometry, Preset
from harness.errors import ExpectedError
from harness.evaluation.spec import ModelSpec
from harness.gate.expected import ORIGINS, Entry, Expected
from harness.gate.scores import TopK
from harness.gate.tolerance import FLOORS

SCHEMA_VERSION = 1
_FP32 = "fp32"
_ENTRY_KEYS = frozenset({"model", "weights", "builder", "preset"})
DEFAULT_FILE = Path("expected_accuracy.yaml")


# By precision, of each that is named; the others have that of fp32.
_Tolerances = dict[str, Decimal]


@dataclass(frozen=True)
class _SplitFacts:
    images: int
    tolerances: _Tolerances
    origin: str


def read_expected(path: Path) -> tuple[Entry, ...]:
    """Read and check the whole file.

    Raises:
        ExpectedError: naming the file, the key and what is wrong with it.
    """
    try:
        with path.open(encoding="utf-8") as file:
            document = yaml.load(file, _Loader)
    except OSError as error:
        raise ExpectedError(f"{path}: cannot be read: {error.strerror}") from error
    # A ValueError is text that is not UTF-8, or what YAML takes for a date that does not exist.
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ExpectedError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    if document is None:
        raise ExpectedError(f"{path}: the file is empty")
    return tuple(_File(path).entries(document))


class _Loader(yaml.SafeLoader):
    """YAML as it is written: a key that stands twice in one mapping is an error, not the last one's win."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                continue
            if key_node.value in seen:
                line = key_node.start_mark.line + 1
                raise yaml.YAMLError(f"key {key_node.value!r} stands twice in one mapping, again in line {line}")
            seen.add(key_node.value)
        return super().construct_mapping(node, deep)


class _File:
    """The checks, with the file's name at hand for their messages."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def entries(self, document: Any) -> Iterator[Entry]:
        top = self._mapping(document, "", required={"schema_version", "tolerance", "splits", "models"})
        if type(top["schema_version"]) is not int or top["schema_version"] != SCHEMA_VERSION:
            raise self._error("schema_version", f"expected {SCHEMA_VERSION}, found {top['schema_version']!r}")
        tolerances = self._tolerances(top["tolerance"], "tolerance", {})
        if _FP32 not in tolerances:
            raise self._error("tolerance", f"{_FP32!r} is missing, whose tolerance holds for all that have none")
        splits = {
            name: self._split(facts, f"splits.{name}", tolerances)
            for name, facts in self._mapping(top["splits"], "splits").items()
        }
        if not isinstance(top["models"], list):
            raise self._error("models", f"expected a list, found {type(top['models']).__name__}")
        seen: dict[str, str] = {}
        for number, item in enumerate(top["models"]):
            key = f"models[{number}]"
            entry = self._entry(item, key, splits)
            identity = str(entry.spec)
            if identity in seen:
                raise self._error(key, f"{identity} stands there already, as {seen[identity]}")
            seen[identity] = key
            yield entry

    def _split(self, value: Any, key: str, tolerances: _Tolerances) -> _SplitFacts:
        if key.partition(".")[2] in _ENTRY_KEYS:
            raise self._error(key, "a split cannot be called as a key of an entry is")
        facts = self._mapping(value, key, required={"images", "source"}, optional={"tolerance", "origin"})
        if type(facts["images"]) is not int or facts["images"] < 1:
            raise self._error(f"{key}.images", f"expected a number of images, found {facts['images']!r}")
        self._text(facts["source"], f"{key}.source")
        if "tolerance" in facts:
            tolerances = self._tolerances(facts["tolerance"], f"{key}.tolerance", tolerances)
        origin = facts.get("origin", ORIGINS[0])
        if origin not in ORIGINS:
            raise self._error(f"{key}.origin", f"expected one of {', '.join(ORIGINS)}, found {origin!r}")
        return _SplitFacts(facts["images"], tolerances, origin)

    def _entry(self, value: Any, key: str, splits: dict[str, _SplitFacts]) -> Entry:
        item = self._mapping(value, key, required={"model", "weights"}, optional={"builder", "preset", *splits})
        model, weights = (
            self._text(item["model"], f"{key}.model"),
            self._text(item["weights"], f"{key}.weights"),
        )
        builder = item.get("builder")
        if (
            builder is not None
            and [bool(part) for part in self._text(builder, f"{key}.builder").split(":")] != [True] * 2
        ):
            raise self._error(f"{key}.builder", f"expected module:function, found {builder!r}")
        if (builder is None) != ("preset" not in item):
            raise self._error(key, "builder and preset go together: torchvision's own models bring their preset")
        preset = None if builder is None else self._preset(item["preset"], f"{key}.preset")
        return Entry(
            ModelSpec(model, weights, builder, preset),
            tuple(
                (name, self._expected(item[name], f"{key} ({model}-{weights}): {name}", facts))
                for name, facts in splits.items()
                if name in item
            ),
            where=f"{self._path}: {key}.model",
        )

    def _expected(self, value: Any, key: str, facts: _SplitFacts) -> Expected:
        item = self._mapping(value, key, required={"acc@1", "acc@5"}, optional={"tolerance"})
        top1, top5 = (
            self._accuracy(item["acc@1"], f"{key}.acc@1"),
            self._accuracy(item["acc@5"], f"{key}.acc@5"),
        )
        if top5 < top1:
            raise self._error(f"{key}.acc@5", f"{top5} is below acc@1, {top1}")
        tolerances = facts.tolerances
        if "tolerance" in item:
            tolerances = self._tolerances(item["tolerance"], f"{key}.tolerance", tolerances)
        hits = TopK(facts.images, *(round(accuracy * facts.images / 100) for accuracy in (top1, top5)))
        own = tuple((name, tolerance) for name, tolerance in tolerances.items() if name != _FP32)
        return Expected(hits, tolerances[_FP32], facts.origin, own)

    def _preset(self, value: Any, key: str) -> Preset:
        item = self._mapping(value, key, required={"resize", "crop", "interpolation", "mean", "std"})
        for name in ("resize", "crop"):
            if type(item[name]) is not int or item[name] < 1:
                raise self._error(f"{key}.{name}", f"expected a number of pixels, found {item[name]!r}")
        if item["interpolation"] not in INTERPOLATIONS:
            raise self._error(
                f"{key}.interpolation",
                f"expected one of {', '.join(INTERPOLATIONS)}, found {item['interpolation']!r}",
            )
        for name in ("mean", "std"):
            values = item[name]
            if not isinstance(values, list) or len(values) != 3 or any(type(x) not in (int, float) for x in values):
                raise self._error(f"{key}.{name}", f"expected three numbers such as 0.485, found {values!r}")
            if not all(0 <= x <= 1 for x in values) or (name == "std" and 0 in values):
                raise self._error(f"{key}.{name}", f"expected values for pixels scaled to 0..1, found {values!r}")
        if item["crop"] > item["resize"]:
            raise self._error(f"{key}.crop", f"{item['crop']} is more than resize leaves, {item['resize']}")
        mean, std = (tuple(float(x) for x in item[name]) for name in ("mean", "std"))
        geometry = Geometry(item["resize"], item["crop"], item["interpolation"])
        return Preset(geometry, (mean[0], mean[1], mean[2]), (std[0], std[1], std[2]))

    def _accuracy(self, value: Any, key: str) -> Decimal:
        number = self._number(value, key)
        if 0 < number <= 1:
            raise self._error(key, f"{number} looks like a fraction; expected percent, such as {number * 100:f}")
        if not 0 <= number <= 100:
            raise self._error(key, f"expected percent between 0 and 100, found {number}")
        return number

    def _tolerances(self, value: Any, key: str, outer: _Tolerances) -> _Tolerances:
        """Return ``outer`` with what is given here: one number for all precisions, or some by name."""
        if not isinstance(value, dict):
            return {_FP32: self._tolerance(value, key)}
        named = self._mapping(value, key, required=frozenset(), optional=frozenset(FLOORS))
        return {**outer, **{name: self._tolerance(number, f"{key}.{name}") for name, number in named.items()}}

    def _tolerance(self, value: Any, key: str) -> Decimal:
        number = self._number(value, key)
        if not 0 <= number <= 100:
            raise self._error(key, f"expected percentage points between 0 and 100, found {number}")
        return number

    def _number(self, value: Any, key: str) -> Decimal:
        if type(value) not in (int, float):
            raise self._error(key, f"expected a number, found {value!r}")
        # The shortest decimal that reads back as this float is what stands in the file.
        number = Decimal(str(value))
        if not number.is_finite():
            raise self._error(key, f"expected a number, found {value!r}")
        return number

    def _text(self, value: Any, key: str) -> str:
        if not isinstance(value, str) or not value:
            raise self._error(key, f"expected a name, found {value!r}")
        return value

    def _mapping(
        self,
        value: Any,
        key: str,
        required: Set[str] | None = None,
        optional: Set[str] = frozenset(),
    ) -> dict[str, Any]:
        """Return ``value`` if it is a mapping with exactly the keys allowed; any keys if ``required`` is None."""
        if not isinstance(value, dict):
            raise self._error(key, f"expected a mapping from names, found {value!r:.60}")
        if odd := [name for name in value if not isinstance(name, str)]:
            raise self._error(key, f"expected names for keys, found {odd[0]!r}; quote it if it is meant as a name")
        if required is not None:
            if unknown := sorted(value.keys() - required - optional):
                raise self._error(key, f"unknown key {unknown[0]!r}{_nearest(unknown[0], required | optional)}")
            if missing := sorted(required - value.keys()):
                raise self._error(key, f"{missing[0]!r} is missing")
        return value

    def _error(self, key: str, reason: str) -> ExpectedError:
        return ExpectedError(f"{self._path}: {key}: {reason}" if key else f"{self._path}: {reason}")


def _nearest(name: str, names: Set[str]) -> str:
    nearest = get_close_matches(name, sorted(names), n=1)
    return f" (nearest: {nearest[0]!r})" if nearest else ""
