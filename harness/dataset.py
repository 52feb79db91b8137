"""A dataset: which images, in which order, with which labels; opened from any format in ``harness.formats``."""

from __future__ import annotations

import hashlib
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from harness.errors import DatasetError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from harness.formats.sources import Source

SYNTHETIC = "synthetic"
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class Row(NamedTuple):
    """One labeled image, as a format's reader finds it."""

    id: str
    source: Source
    target: int


@dataclass(frozen=True, eq=False)
class ImageDataset:
    """N labeled images, sorted by id."""

    name: str  # "imagenet-1k" or "synthetic" where the dataset was recognized as such, else the folder's name
    format: str  # how it is laid out on disk, in words
    root: Path  # the folder or file that it was read from
    ids: tuple[str, ...]  # N names that do not depend on the format; unique and sorted
    sources: tuple[Source, ...]  # N sources of the images' bytes
    targets: NDArray[np.int16]  # (N,) class indices into classes
    classes: tuple[str, ...]  # wnids or other class names, in the order of the models' outputs
    fingerprint: str  # digest of the ids and the sources' identities when the dataset was opened
    whole: ImageDataset | None = None  # the dataset that this one is a part of; None for a whole one
    caveat: str = ""  # why this is not the published dataset that it resembles, as a clause; empty otherwise
    ignored: tuple[str, ...] = ()  # files among the images whose names are not those of images

    @classmethod
    def from_rows(
        cls,
        rows: Iterable[Row],
        *,
        name: str,
        format: str,  # noqa: A002
        root: Path,
        classes: tuple[str, ...],
        ignored: tuple[str, ...] = (),
    ) -> ImageDataset:
        """Return the dataset of these images, sorted by id.

        Raises:
            DatasetError: two images have the same id, or an id is not UTF-8 or has control characters.
        """
        ordered = sorted(rows, key=lambda row: row.id)
        for one, other in pairwise(ordered):
            if one.id == other.id:
                raise DatasetError(f"{root}: two images have the id {one.id!r}: {one.source} and {other.source}")
        fingerprint = hashlib.sha256()
        for row in ordered:
            if _CONTROL.search(row.id):
                raise DatasetError(f"{root}: the name {row.id!r} has control characters; rename the image")
            try:
                fingerprint.update(f"{row.id}\0{row.source.identity}\n".encode())
            except UnicodeEncodeError:
                raise DatasetError(f"{root}: the name {row.id!r} is not UTF-8; rename the image") from None
        return cls(
            name=name,
            format=format,
            root=root,
            ids=tuple(row.id for row in ordered),
            sources=tuple(row.source for row in ordered),
            targets=np.array([row.target for row in ordered], dtype=np.int16),
            classes=classes,
            fingerprint=fingerprint.hexdigest(),
            ignored=ignored,
        )

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def total(self) -> int:
        """The number of images of the whole dataset."""
        return len(self.whole or self)

    @cached_property
    def rows(self) -> NDArray[np.int64]:
        """(N,) indices of the images in the whole dataset."""
        return np.searchsorted(np.array((self.whole or self).ids), np.array(self.ids)).astype(np.int64)

    @cached_property
    def digest(self) -> str:
        """The sha256 of the ids and targets."""
        return digest_of(self.ids, self.targets)

    def subset(self, images: int) -> ImageDataset:
        """Return a fixed, class-balanced subset, the same everywhere; a smaller one is part of every larger one.

        Images are drawn in rounds, one per class in each round, in the order of the sha256 of their ids.

        Raises:
            DatasetError: ``images`` is not in 1..N.
        """
        if not 1 <= images <= len(self):
            raise DatasetError(f"--limit must be between 1 and the {len(self):,} images of {self.name}, not {images:,}")
        shuffled = sorted(range(len(self)), key=lambda i: hashlib.sha256(self.ids[i].encode()).digest())
        seen: defaultdict[int, int] = defaultdict(int)
        rounds = []
        for index in shuffled:
            target = int(self.targets[index])
            rounds.append((seen[target], index))
            seen[target] += 1
        # The sort is stable: within a round the shuffled order is kept.
        return self._part(sorted(index for _, index in sorted(rounds, key=lambda pair: pair[0])[:images]))

    def shard(self, rank: int, world_size: int) -> ImageDataset:
        """Return every ``world_size``-th image from index ``rank``; with few images some shards are empty."""
        return self if world_size == 1 else self._part(range(rank, len(self), world_size))

    def _part(self, indices: Sequence[int]) -> ImageDataset:
        """Return the images at these indices, which are in ascending order."""
        return replace(
            self,
            ids=tuple(self.ids[i] for i in indices),
            sources=tuple(self.sources[i] for i in indices),
            targets=self.targets[list(indices)],
            whole=self.whole or self,
        )


def digest_of(ids: Sequence[str], targets: NDArray[np.int16]) -> str:
    """Return the sha256 of N ids and targets, in the order of the ids."""
    digest = hashlib.sha256()
    for identity, target in zip(ids, targets.tolist(), strict=True):
        digest.update(f"{identity}\0{target}\n".encode())
    return digest.hexdigest()


def open_dataset(path: str | os.PathLike[str], named: str = "--imagenet") -> ImageDataset:
    """Open the dataset at ``path``: a folder or an archive in any known format, or the word ``synthetic``.

    Messages name the option ``named`` as the one that it was given to.

    Raises:
        DatasetError: nothing is there, or it is in no known format.
    """
    if path == SYNTHETIC:
        from harness.synthetic.images import open_synthetic

        return open_synthetic()
    from harness import formats

    root = Path(os.path.expanduser(path))  # noqa: PTH111 -- Path's fails where there is no such user
    try:
        if not root.exists():
            expected = "expected a folder or archive of images"
            raise DatasetError(f"{named} {os.fspath(path)!r}: {expected}, found nothing at {root.absolute()}")
        return formats.read(root)
    except OSError as error:
        raise DatasetError(
            f"{named} {os.fspath(path)!r}: {error.filename or root} cannot be read: {error.strerror or error}"
        ) from error
