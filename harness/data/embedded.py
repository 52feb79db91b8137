"""The split that needs no download: images rendered once into the user's cache, as files in class folders."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path

import PIL
import platformdirs
from PIL import features

from harness.data.rendering import render
from harness.errors import SplitError

# sha256 of all files, see digest(): what Pillow encoded is checked before it is used.
DIGEST = "00ce25367e5af6dfe372965cc6cd57cf83e3ea7e7d14335385a28e3fea643fde"


def ensure_rendered(cache: Path | None = None) -> Path:
    """Return the folder with the 500 validation images, rendered at the first call, checked at every call.

    Files that are missing, changed, or do not belong there are put right. Many processes may call this at once.

    Args:
        cache: the folder to keep them in; default: the user's cache folder.

    Raises:
        SplitError: the cache cannot be written, or this Pillow encodes the images to other bytes.
    """
    cache = platformdirs.user_cache_path("imagenet-gate") if cache is None else cache
    folder = cache / f"embedded-{DIGEST[:12]}"
    try:
        if not folder.is_dir() or digest(folder) != DIGEST:
            _refresh(folder)
    except OSError as error:
        raise SplitError(
            f"the embedded split's images cannot be kept in {folder} ({error.strerror or error}); "
            "set XDG_CACHE_HOME to a writable folder with 20 MB of room"
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
    """Render beside ``folder``, check the result, and move it into place."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", dir=folder.parent))
    try:
        fresh.chmod(0o755)  # a cache that users share must be readable to all of them
        render(fresh, "val")
        _check_encoder(digest(fresh))
        _install(fresh, folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _check_encoder(found: str) -> None:
    if found != DIGEST:
        raise SplitError(
            f"Pillow {PIL.__version__} with libjpeg-turbo {features.version('libjpeg_turbo') or '(none)'} encodes the "
            f"embedded split's images to other bytes (digest {found[:12]}, expected {DIGEST[:12]}), so the accuracies "
            "recorded for it do not apply; use another Pillow, or point --imagenet at images on disk"
        )


def _install(fresh: Path, folder: Path) -> None:
    """Move ``fresh`` to ``folder``; where that exists, file by file, so that no other process finds one missing."""
    try:
        fresh.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise
    else:
        return
    wanted = _files(fresh)
    for path in wanted:
        (folder / path).parent.mkdir(exist_ok=True)
        (fresh / path).replace(folder / path)
    for path in set(_files(folder)).difference(wanted):
        (folder / path).unlink(missing_ok=True)
