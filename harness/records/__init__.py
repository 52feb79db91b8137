"""What a run leaves: evidence, results, environment, and the run folder; read by everything that follows the gate."""

from __future__ import annotations

import errno
import tempfile
from pathlib import Path


def write_whole(path: Path, data: bytes) -> None:
    """Write a file under a temporary name and move it into place; an OSError leaves nothing of it. A link stays one."""
    path = path.resolve()
    if path.exists() and not path.is_file():
        raise OSError(errno.EEXIST, "something else than a file is there", str(path))
    file = tempfile.NamedTemporaryFile(dir=path.parent, prefix=f"{path.name}.", delete=False)  # noqa: SIM115
    temporary = Path(file.name)
    try:
        with file:
            file.write(data)
        temporary.chmod(0o644)  # caches are shared between users
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
