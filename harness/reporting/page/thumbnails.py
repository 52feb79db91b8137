"""Small pictures of images, as parts of a page; only of sets that may be shown."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from harness.data.split import Split

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
        except (OSError, Image.DecompressionBombError):
            return ""
        small.thumbnail((_SIDE, _SIDE))
        file = io.BytesIO()
        small.save(file, "JPEG", quality=_QUALITY, optimize=True)
        return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
