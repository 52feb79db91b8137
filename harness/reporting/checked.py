"""Values from JSON that somebody may have edited: of the types that are written there, or refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NUMBER = (int, float)


def checked(values: Mapping[str, Any], kinds: Mapping[str, type | tuple[type, ...]]) -> None:
    """Raise for a value of another type than is written.

    Args:
        values: by name, from JSON.
        kinds: the types of those that are looked at.

    Raises:
        KeyError: one is missing.
        ValueError: one is of another type.
    """
    for name, kind in kinds.items():
        value = values[name]
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            expected = " or ".join(one.__name__ for one in (kind if isinstance(kind, tuple) else (kind,)))
            raise ValueError(f"{name} should be {expected}, and is {value!r}")


def texts(values: object) -> tuple[str, ...]:
    """Return a list of texts as a tuple.

    Raises:
        ValueError: it is something else.
    """
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ValueError(f"expected a list of texts, found {values!r}")
    return tuple(values)
