"""The rendered dataset: the same bytes everywhere, checked and put right in the cache."""

from __future__ import annotations

import errno
import hashlib
import shutil
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest.mock import Mock

import PIL
import platformdirs
import pytest
from PIL import Image

from harness.errors import DatasetError
from harness.synthetic import images, rendering
from harness.synthetic.rendering import CLASSES


@pytest.fixture
def render(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Mock:
    """Let twenty files be the images, and their digest the recorded one."""
    few = tmp_path_factory.mktemp("few")
    for number in range(20):
        (few / f"class-{number % 5}").mkdir(exist_ok=True)
        (few / f"class-{number % 5}" / f"{number:02}.JPEG").write_bytes(bytes([number]) * 100)
    render = Mock(side_effect=lambda root, _part: shutil.copytree(few, root, dirs_exist_ok=True))
    monkeypatch.setattr(images, "render", render)
    monkeypatch.setattr(images, "DIGEST", images.digest(few))
    return render


@pytest.mark.slow
def test_rendering_gives_the_recorded_bytes(tmp_path: Path) -> None:
    """Names, kinds, sizes and pixels, which the expected accuracies and the shipped baseline stand on."""
    rendering.render(tmp_path, "val")

    assert images.DIGEST == images.digest(tmp_path)


def test_fitting_images_are_balanced_and_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every class has 4 fitting images, plain RGB JPEG files, none of them a validation image."""
    monkeypatch.setattr(rendering, "CLASSES", CLASSES[:7])

    rendering.render(tmp_path / "fit", "fit")
    rendering.render(tmp_path / "val", "val")

    fit, val = ([*(tmp_path / part).glob("*/*")] for part in ("fit", "val"))
    assert dict.fromkeys(CLASSES[:7], 4) == Counter(path.parent.name for path in fit)
    assert {path.read_bytes() for path in fit}.isdisjoint(path.read_bytes() for path in val)
    for path in fit:
        with Image.open(path) as image:
            assert (image.format, image.mode) == ("JPEG", "RGB")


def test_digest_is_that_of_sha256sum(tmp_path: Path) -> None:
    """The digest covers every file's bytes and path, in the order of the paths, as sha256sum lists them."""
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "x").write_bytes(b"one")
    (tmp_path / "a").write_bytes(b"two")
    listing = f"{hashlib.sha256(b'two').hexdigest()}  a\n{hashlib.sha256(b'one').hexdigest()}  b/x\n"

    assert hashlib.sha256(listing.encode()).hexdigest() == images.digest(tmp_path)


def test_the_first_call_renders(render: Mock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Later ones only check. In a folder of the user's cache that is named by the digest; nothing else stays there."""
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda name: tmp_path / name)

    folder = images.ensure_rendered()
    again = images.ensure_rendered()

    assert render.call_args.args[1] == "val"
    assert folder == again == tmp_path / "imagenet-gate" / f"synthetic-{images.DIGEST[:12]}"
    assert images.DIGEST == images.digest(folder)
    assert [folder] == list(folder.parent.iterdir())
    assert render.call_count == 1


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda path: path.write_bytes(b"\x11" * 99 + b"\x10"), id="one bit"),
        pytest.param(lambda path: path.unlink(), id="missing"),
        pytest.param(lambda path: (path.parent / "more.JPEG").write_bytes(path.read_bytes()), id="extra"),
    ],
)
def test_damage_is_found_and_put_right(damage: Callable[[Path], object], render: Mock, tmp_path: Path) -> None:
    """By one new rendering, after which all is as recorded."""
    folder = images.ensure_rendered(tmp_path)
    damage(folder / "class-2" / "17.JPEG")

    assert folder == images.ensure_rendered(tmp_path)
    assert images.DIGEST == images.digest(folder)
    assert [folder] == list(tmp_path.iterdir())
    assert render.call_count == 2


@pytest.mark.parametrize("before", ["nothing", "damaged"])
def test_many_may_render_at_once(render: Mock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str) -> None:
    """Whoever comes second puts the same files into the same place, and no one fails or leaves anything behind."""
    everyone = threading.Barrier(3)

    def render_together(root: Path, part: str) -> None:
        render(root, part)
        everyone.wait(timeout=30)

    monkeypatch.setattr(images, "render", render_together)
    folder = tmp_path / f"synthetic-{images.DIGEST[:12]}"
    if before == "damaged":
        (folder / "class-0").mkdir(parents=True)
    with ThreadPoolExecutor(3) as threads:
        assert [folder] * 3 == list(threads.map(images.ensure_rendered, [tmp_path] * 3))

    assert images.DIGEST == images.digest(folder)
    assert [folder] == list(tmp_path.iterdir())


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the variable to set; a disk that fills up while rendering leaves nothing behind."""

    def fill(root: Path, part: str) -> None:
        (root / part).write_bytes(b"some")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(images, "render", fill)

    with pytest.raises(DatasetError, match=r"synthetic-\w{12} \(No space left on device\).*XDG_CACHE_HOME"):
        images.ensure_rendered(tmp_path)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(DatasetError, match=r"file.synthetic-\w{12} \(.*XDG_CACHE_HOME"):
        images.ensure_rendered(tmp_path / "file")


def test_another_encoder_is_an_error(render: Mock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that are not the recorded ones even when fresh are an error once, naming Pillow's and libjpeg's version."""
    monkeypatch.setattr(images, "DIGEST", "0" * 64)

    with pytest.raises(DatasetError, match=rf"Pillow {PIL.__version__} with libjpeg-turbo .*do not apply"):
        images.ensure_rendered(tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert render.call_count == 1
