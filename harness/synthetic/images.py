"""The dataset that needs no download: images rendered once into the user's cache, as files in class folders."""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import replace
from pathlib import Path

import PIL
import platformdirs
from PIL import features

from harness.dataset import SYNTHETIC, ImageDataset, Row
from harness.errors import DatasetError
from harness.formats.sources import FileSource
from harness.synthetic.rendering import CLASSES, render

# digest() of the rendered files; checked before they are used, since the bytes depend on Pillow's encoder.
DIGEST = "00ce25367e5af6dfe372965cc6cd57cf83e3ea7e7d14335385a28e3fea643fde"


def open_synthetic() -> ImageDataset:
    """Return the dataset of the 500 rendered images."""
    root = ensure_rendered()
    rows = [Row(path.name, FileSource.of(path), CLASSES.index(path.parent.name)) for path in root.glob("*/*")]
    dataset = ImageDataset.from_rows(rows, name=SYNTHETIC, format="rendered images", root=root, classes=CLASSES)
    # The files' digest has just been checked; their times differ from machine to machine.
    return replace(dataset, fingerprint=DIGEST)


def ensure_rendered(cache: Path | None = None) -> Path:
    """Return the cache's folder of the 500 validation images, rendered at the first call and checked at every call.

    Files that are missing, changed or foreign are corrected. Several processes may call this at once.
    """
    folder = (cache or platformdirs.user_cache_path("imagenet-gate")) / f"{SYNTHETIC}-{DIGEST[:12]}"
    try:
        if not folder.is_dir() or digest(folder) != DIGEST:
            _refresh(folder)
    except OSError as error:
        raise DatasetError(
            f"the synthetic images cannot be kept in {folder} ({error.strerror or error}); "
            "set XDG_CACHE_HOME to a writable folder with 20 MB of free space"
        ) from error
    return folder


def digest(root: Path) -> str:
    """Return the sha256 of all files below ``root``: of lines ``<sha256>  <relative posix path>``, sorted by path."""
    total = hashlib.sha256()
    for path in _files(root):
        total.update(f"{hashlib.sha256((root / path).read_bytes()).hexdigest()}  {path}\n".encode())
    return total.hexdigest()


def _files(root: Path) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if not path.is_dir())


def _refresh(folder: Path) -> None:
    """Render beside ``folder``, check the result, and move each file into place: another process may read them."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"{folder.name}.", dir=folder.parent) as temporary:
        fresh = Path(temporary)
        render(fresh, "val")
        if (found := digest(fresh)) != DIGEST:
            raise DatasetError(
                f"Pillow {PIL.__version__} with libjpeg-turbo {features.version('libjpeg_turbo') or '(none)'} encodes "
                f"the synthetic images to other bytes (digest {found[:12]}, expected {DIGEST[:12]}), so their expected "
                "accuracies do not apply; use another Pillow, or point --imagenet at images on disk"
            )
        rendered = _files(fresh)
        for path in rendered:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (fresh / path).replace(folder / path)
    for path in set(_files(folder)).difference(rendered):
        (folder / path).unlink(missing_ok=True)
