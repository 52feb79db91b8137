"""The rendered dataset: the same bytes everywhere, checked and put right in the cache."""

from __future__ import annotations

import errno
import hashlib
import shutil
import threading
from pathlib import Path

import PIL
import platformdirs
import pytest

from harness.errors import DatasetError
from harness.synthetic import images, rendering


@pytest.fixture
def few(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of 20 files, whose digest is the recorded one in place of that of all images."""
    folder = tmp_path_factory.mktemp("few")
    for number in range(20):
        (folder / rendering.CLASSES[number % 5]).mkdir(exist_ok=True)
        (folder / rendering.CLASSES[number % 5] / f"{number:02}.JPEG").write_bytes(bytes([number]) * 100)
    monkeypatch.setattr(images, "DIGEST", images.digest(folder))
    return folder


@pytest.fixture
def quick_render(few: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Let ``render`` copy those few; returns the folders that it was asked for, as it is called."""
    calls: list[Path] = []

    def copy(root: Path, part: rendering.Part) -> None:
        assert part == "val"
        calls.append(root)
        shutil.copytree(few, root, dirs_exist_ok=True)

    monkeypatch.setattr(images, "render", copy)
    return calls


def test_rendering_gives_the_recorded_bytes(val: Path) -> None:
    """Rendered anew, the validation files have the recorded digest."""
    assert images.DIGEST == images.digest(val)


def test_digest_is_that_of_sha256sum(tmp_path: Path) -> None:
    """The digest covers every file's bytes and path, in the order of the paths, as sha256sum lists them."""
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "x").write_bytes(b"one")
    (tmp_path / "a").write_bytes(b"two")
    listing = f"{hashlib.sha256(b'two').hexdigest()}  a\n{hashlib.sha256(b'one').hexdigest()}  b/x\n"

    assert hashlib.sha256(listing.encode()).hexdigest() == images.digest(tmp_path)


def test_first_call_renders_and_later_calls_only_check(quick_render: list[Path], tmp_path: Path) -> None:
    """The images are rendered once into a folder named by the digest, and nothing else stays in the cache."""
    folder = images.ensure_rendered(tmp_path / "cache")
    again = images.ensure_rendered(tmp_path / "cache")

    assert folder == again == tmp_path / "cache" / f"synthetic-{images.DIGEST[:12]}"
    assert images.DIGEST == images.digest(folder)
    assert [folder] == list((tmp_path / "cache").iterdir())
    assert len(quick_render) == 1


@pytest.mark.parametrize("damage", ["byte", "missing", "extra", "no folder", "renamed"])
def test_damage_is_found_and_put_right(quick_render: list[Path], tmp_path: Path, damage: str) -> None:
    """A changed byte, a missing, foreign or renamed file leads to one new rendering, after which all is as recorded."""
    folder = images.ensure_rendered(tmp_path)
    victim = sorted(folder.glob("*/*"), key=lambda path: path.name)[17]
    if damage == "byte":
        data = bytearray(victim.read_bytes())
        data[len(data) // 2] ^= 1
        victim.write_bytes(data)
    elif damage == "missing":
        victim.unlink()
    elif damage == "extra":
        (victim.parent / "more.JPEG").write_bytes(victim.read_bytes())
    elif damage == "no folder":
        shutil.rmtree(victim.parent)
    else:
        victim.rename(victim.with_suffix(".png"))

    assert folder == images.ensure_rendered(tmp_path)
    assert images.DIGEST == images.digest(folder)
    assert [folder] == list(tmp_path.iterdir())
    assert len(quick_render) == 2


@pytest.mark.parametrize("before", ["nothing", "damaged"])
def test_many_may_render_at_once(few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str) -> None:
    """Whoever comes second puts the same files into the same place, and no one fails or leaves anything behind."""
    everyone = threading.Barrier(3)
    failures: list[BaseException] = []

    def render_together(root: Path, part: rendering.Part) -> None:
        assert part == "val"
        shutil.copytree(few, root, dirs_exist_ok=True)
        everyone.wait(timeout=30)

    def ensure() -> None:
        try:
            images.ensure_rendered(tmp_path)
        except BaseException as error:
            failures.append(error)

    monkeypatch.setattr(images, "render", render_together)
    folder = tmp_path / f"synthetic-{images.DIGEST[:12]}"
    if before == "damaged":
        (folder / rendering.CLASSES[0]).mkdir(parents=True)
    threads = [threading.Thread(target=ensure) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    assert images.DIGEST == images.digest(folder)
    assert [folder] == list(tmp_path.iterdir())


def test_a_cache_that_cannot_be_written_is_named(quick_render: list[Path], tmp_path: Path) -> None:
    """A cache that cannot be made is an error that names the folder and the variable to set."""
    (tmp_path / "cache").write_text("a file where the folder should be")

    with pytest.raises(DatasetError, match=r"cache.*synthetic-\w{12}.*XDG_CACHE_HOME"):
        images.ensure_rendered(tmp_path / "cache")
    assert quick_render == []


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fills up while rendering is an error that says so, and the half-written folder goes."""

    def fill(root: Path, part: rendering.Part) -> None:
        (root / part).write_bytes(b"some")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(images, "render", fill)

    with pytest.raises(DatasetError, match=r"No space left on device.*XDG_CACHE_HOME"):
        images.ensure_rendered(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_another_encoder_is_an_error(quick_render: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that are not the recorded ones even when fresh are an error once, naming Pillow's and libjpeg's version."""
    monkeypatch.setattr(images, "DIGEST", "0" * 64)

    with pytest.raises(DatasetError, match=rf"Pillow {PIL.__version__} with libjpeg-turbo .*do not apply"):
        images.ensure_rendered(tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert len(quick_render) == 1


def test_the_default_cache_is_the_users(
    quick_render: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a folder the images go to the user's cache, under the project's name."""
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda name: tmp_path / name)

    assert tmp_path / "imagenet-gate" == images.ensure_rendered().parent
    assert len(quick_render) == 1
