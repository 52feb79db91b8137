"""Small pictures of images, as parts of a page; only of datasets that may be shown."""

from __future__ import annotations

import base64
import io

from PIL import Image

from harness.dataset import ImageDataset
from harness.formats.sources import Source

_SIDE, _QUALITY = 128, 72


class Thumbnails:
    """Pictures of a dataset's images, by id; without a dataset none, and why not, as a sentence for the page."""

    def __init__(self, dataset: ImageDataset | None, why_not: str = "") -> None:
        self.why_not = why_not
        self.class_names = dataset.classes if dataset else ()
        self._sources = dict(zip(dataset.ids, dataset.sources, strict=True)) if dataset else {}
        self._made: dict[str, str] = {}

    def of(self, identity: str) -> str:
        """Return the picture as a ``data:`` URI; empty where none may be shown, or it cannot be read."""
        if identity not in self._made:
            source = self._sources.get(identity)
            self._made[identity] = _picture(source) if source else ""
        return self._made[identity]


def _picture(source: Source) -> str:
    try:
        with Image.open(io.BytesIO(source.read())) as image:
            small = image.convert("RGB")
    except (OSError, Image.DecompressionBombError):
        return ""
    small.thumbnail((_SIDE, _SIDE))
    file = io.BytesIO()
    small.save(file, "JPEG", quality=_QUALITY, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
