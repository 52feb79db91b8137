"""Small pictures of images, as parts of a page; only of sets that may be shown."""

from __future__ import annotations

import base64
import io
from collections.abc import Collection

import numpy as np
from PIL import Image

from harness.data.layouts import EMBEDDED, open_split
from harness.data.split import Split
from harness.errors import SplitError
from harness.reporting.record import SplitFacts

_SIDE = 128
_QUALITY = 72


class Thumbnails:
    """Pictures of a split's images, by id."""

    def __init__(self, split: Split | None, why_not: str = "") -> None:
        """Take the split.

        Args:
            split: None where no picture is to be shown.
            why_not: why; a sentence for the page.
        """
        self.why_not = why_not
        self.class_names = split.classes if split else ()
        self._split = split
        self._made: dict[str, str] = {}

    def of(self, identity: str) -> str:
        """Return the picture as a ``data:`` URI; empty where it is not to be shown or cannot be read."""
        if self._split is None:
            return ""
        if identity not in self._made:
            self._made[identity] = self._make(self._split, identity)
        return self._made[identity]

    def _make(self, split: Split, identity: str) -> str:
        place = int(np.searchsorted(np.array(split.ids), identity))
        try:
            with Image.open(io.BytesIO(split.sources[place].read())) as image:
                small = image.convert("RGB")
        except OSError:
            return ""
        small.thumbnail((_SIDE, _SIDE))
        file = io.BytesIO()
        small.save(file, "JPEG", quality=_QUALITY, optimize=True)
        return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def open_thumbnails(facts: SplitFacts, shown: Collection[str], images: str | None) -> Thumbnails:
    """Return the pictures of a split.

    The embedded images are this project's own. Others' terms may forbid to pass them on, as ImageNet's do, so they are
    shown only where the caller names them.

    Args:
        facts: of what was evaluated.
        shown: ids that will be asked for.
        images: folder or archive of the images; None where the caller does not name one.

    Raises:
        SplitError: it cannot be read, or does not hold the images.
    """
    if not shown:
        return Thumbnails(None)
    if images is None and facts.name != EMBEDDED:
        why = (
            f"The pictures are not shown: the terms of {facts.name} may forbid to pass them on. "
            "Where they do not, --images DIR shows them."
        )
        return Thumbnails(None, why)
    split = open_split(images or EMBEDDED)
    if missing := sorted(set(shown).difference(split.ids)):
        raise SplitError(
            f"--images {images}: expected the images of {facts.name}, found none called {missing[0]!r} in {split.root}"
        )
    return Thumbnails(split)
