"""Files that nobody ever sees half of."""

from __future__ import annotations

import tempfile
from pathlib import Path


def write_whole(path: Path, data: bytes) -> None:
    """Write a file under a temporary name and move it into place.

    Raises:
        OSError: it cannot be written; nothing is left of it.
    """
    file = tempfile.NamedTemporaryFile(dir=path.parent, prefix=f"{path.name}.", delete=False)  # noqa: SIM115
    temporary = Path(file.name)
    try:
        with file:
            file.write(data)
        temporary.chmod(0o644)  # caches are shared between users
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
