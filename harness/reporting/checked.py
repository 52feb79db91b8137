"""Values from JSON that somebody may have edited: of the types that are written there, or refused."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

NUMBER = (int, float)
_LARGEST = 1e15
# Control characters and halves of characters, of which no chart can be drawn.
_UNSHOWN = ("Cc", "Cs")


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


def measured(values: Mapping[str, Any], least: Mapping[str, float]) -> None:
    """Raise for a number that no measurement gives.

    Args:
        values: by name, from JSON.
        least: the smallest that each of those that are looked at may be; a value that is not known, None, may be.

    Raises:
        KeyError: one is missing.
        ValueError: one is no number, smaller, or larger than anything that is measured.
    """
    for name, smallest in least.items():
        if (value := values[name]) is not None:
            checked(values, {name: NUMBER})
            if not smallest <= value <= _LARGEST:
                raise ValueError(f"{name} should be between {smallest:g} and {_LARGEST:g}, and is {value:g}")


def shown(values: Mapping[str, Any], names: Iterable[str]) -> None:
    """Raise for a name that cannot be shown as it is, as one with control characters.

    Raises:
        KeyError: one is missing.
        ValueError: one is no text, or cannot be shown.
    """
    for name in names:
        checked(values, {name: str})
        if any(unicodedata.category(character) in _UNSHOWN for character in values[name]):
            raise ValueError(f"{name} should be text that can be shown, and is {values[name]!r}")


def texts(values: object) -> tuple[str, ...]:
    """Return a list of texts as a tuple.

    Raises:
        ValueError: it is something else.
    """
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ValueError(f"expected a list of texts, found {values!r}")
    return tuple(values)
