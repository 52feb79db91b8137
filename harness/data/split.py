"""A split: which images, in which order, with which labels."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from harness.errors import SplitError

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Split:
    """N labelled images on disk, sorted by id.

    Attributes:
        name: ``imagenet-1k`` or ``embedded`` for the sets that have been recognized as such, else the folder's name.
        root: the folder that ``files`` are relative to.
        ids: N names that do not depend on how the set lies on disk; unique and sorted.
        files: N paths relative to ``root``, with forward slashes.
        targets: (N,) int16, class indices into ``classes``.
        classes: wnids or other class names, in the order of the models' outputs.
        total: number of images of the split that this one is a subset of; N for a whole split.
        caveat: why this split is not the published one that it resembles, as a clause; empty if nothing is odd.
        ignored: files that lay among the images and are none by their names.
    """

    name: str
    root: Path
    ids: tuple[str, ...]
    files: tuple[str, ...]
    targets: NDArray[np.int16]
    classes: tuple[str, ...]
    total: int
    caveat: str = ""
    ignored: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def is_subset(self) -> bool:
        """Whether ``--limit`` left images out."""
        return len(self) < self.total

    @property
    def paths(self) -> tuple[Path, ...]:
        """The N files."""
        return tuple(self.root / file for file in self.files)

    @cached_property
    def digest(self) -> str:
        """The sha256 of the ids and targets."""
        digest = hashlib.sha256()
        for identity, target in zip(self.ids, self.targets.tolist(), strict=True):
            digest.update(f"{identity}\0{target}\n".encode())
        return digest.hexdigest()

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
        return replace(
            self,
            ids=tuple(self.ids[i] for i in chosen),
            files=tuple(self.files[i] for i in chosen),
            targets=self.targets[chosen],
        )
