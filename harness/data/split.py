"""A split: which images, in which order, with which labels."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from harness.data.source import Source
from harness.errors import SplitError

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Row(NamedTuple):
    """One labelled image, as a reader finds it."""

    id: str
    source: Source
    target: int


@dataclass(frozen=True, eq=False)
class Split:
    """N labelled images, sorted by id.

    Attributes:
        name: ``imagenet-1k`` or ``embedded`` for the sets that have been recognized as such, else the folder's name.
        form: how the set lies on disk, in words.
        root: the folder or file that it was read from.
        ids: N names that do not depend on how the set lies on disk; unique and sorted.
        sources: where each of the N images is.
        targets: (N,) int16, class indices into ``classes``.
        classes: wnids or other class names, in the order of the models' outputs.
        fingerprint: digest of the ids and of what the N sources were when the split was opened.
        whole: the split that this one is a subset of; None for a whole split.
        caveat: why this split is not the published one that it resembles, as a clause; empty if nothing is odd.
        ignored: files that lay among the images and are none by their names.
    """

    name: str
    form: str
    root: Path
    ids: tuple[str, ...]
    sources: tuple[Source, ...]
    targets: NDArray[np.int16]
    classes: tuple[str, ...]
    fingerprint: str
    whole: Split | None = None
    caveat: str = ""
    ignored: tuple[str, ...] = ()

    @classmethod
    def of_rows(
        cls,
        rows: Iterable[Row],
        *,
        name: str,
        form: str,
        root: Path,
        classes: tuple[str, ...],
        ignored: tuple[str, ...] = (),
    ) -> Split:
        """Return the split of these images, in the order of their ids.

        Raises:
            SplitError: two images have one id, or an id is not UTF-8.
        """
        ordered = sorted(rows, key=lambda row: row.id)
        for one, other in pairwise(ordered):
            if one.id == other.id:
                raise SplitError(f"{root}: two images are called {one.id!r}: {one.source} and {other.source}")
        fingerprint = hashlib.sha256()
        for row in ordered:
            try:
                fingerprint.update(f"{row.id}\0{row.source.identity}\n".encode())
            except UnicodeEncodeError:
                raise SplitError(f"{root}: the name {row.id!r} is not UTF-8; rename the image") from None
        return cls(
            name=name,
            form=form,
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
        """The number of images of the whole split."""
        return len(self.whole or self)

    @property
    def is_subset(self) -> bool:
        """Whether ``--limit`` left images out."""
        return len(self) < self.total

    @cached_property
    def rows(self) -> NDArray[np.int64]:
        """(N,) places of the images in the whole split."""
        return np.searchsorted(np.array((self.whole or self).ids), np.array(self.ids)).astype(np.int64)

    @cached_property
    def digest(self) -> str:
        """The sha256 of the ids and targets."""
        return digest_of(self.ids, self.targets)

    def subset(self, images: int) -> Split:
        """Return a fixed, class-balanced subset, the same on every machine and for every form on disk.

        Images are drawn in rounds, one of each class a round; the order of the images within a class and of the
        classes within a round is that of the sha256 of the ids. A smaller subset is thus part of every larger one.

        Raises:
            SplitError: ``images`` is not in 1..N.
        """
        if not 1 <= images <= len(self):
            raise SplitError(f"--limit must be between 1 and the {len(self):,} images of {self.name}, not {images:,}")
        shuffled = sorted(range(len(self)), key=lambda i: hashlib.sha256(self.ids[i].encode()).digest())
        seen: defaultdict[int, int] = defaultdict(int)
        rounds = []
        for index in shuffled:
            target = int(self.targets[index])
            rounds.append((seen[target], index))
            seen[target] += 1
        # The sort is stable: within a round the shuffled order stays.
        chosen = sorted(index for _, index in sorted(rounds, key=lambda pair: pair[0])[:images])
        return self._of(chosen)

    def share(self, rank: int, world: int) -> Split:
        """Return every ``world``-th image from the ``rank``-th on; of few images some shares are empty."""
        return self if world == 1 else self._of(range(rank, len(self), world))

    def _of(self, chosen: Sequence[int]) -> Split:
        """Return the images at these places, in ascending order."""
        return replace(
            self,
            ids=tuple(self.ids[i] for i in chosen),
            sources=tuple(self.sources[i] for i in chosen),
            targets=self.targets[list(chosen)],
            whole=self.whole or self,
        )


def digest_of(ids: Sequence[str], targets: NDArray[np.int16]) -> str:
    """Return the sha256 of N ids and targets, in the order of the ids."""
    digest = hashlib.sha256()
    for identity, target in zip(ids, targets.tolist(), strict=True):
        digest.update(f"{identity}\0{target}\n".encode())
    return digest.hexdigest()
