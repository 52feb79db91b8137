"""Tells shards of a validation set from those of other splits, by their names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from harness.errors import SplitError

_VALIDATION = {"val", "valid", "validation"}
_OTHER = {"train", "training", "test"}


def choose_validation(shards: Sequence[Path]) -> list[Path]:
    """Return the shards whose names say that they are a validation set's, or all if no name says anything.

    >>> [path.name for path in choose_validation([Path("train-0.tar"), Path("val-0.tar")])]
    ['val-0.tar']

    Raises:
        SplitError: they are of another split.
    """
    words = {shard: set(re.split(r"[^a-z]+", shard.name.lower())) for shard in shards}
    if validation := [shard for shard in shards if words[shard] & _VALIDATION]:
        return validation
    if others := [shard for shard in shards if words[shard] & _OTHER]:
        raise SplitError(
            f"{others[0].absolute().parent}: expected shards of the validation set, such as validation-00000*, found "
            f"only those of another split, such as {others[0].name!r}; download the validation set"
        )
    return list(shards)
