"""The rendered split: the same bytes everywhere, checked and put right in the cache."""

from __future__ import annotations

import errno
import hashlib
import shutil
import threading
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import PIL
import platformdirs
import pytest
from PIL import Image

from harness.data import embedded
from harness.errors import SplitError

ORIENTATION = 0x0112


@pytest.fixture(scope="module")
def val(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The validation images, rendered once; not to be changed."""
    root = tmp_path_factory.mktemp("val")
    embedded.render(root, "val")
    return root


@pytest.fixture
def quick_render(val: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Let ``render`` copy what was rendered already; returns the folders that it was asked for, as it is called."""
    calls: list[Path] = []

    def copy(root: Path, part: embedded.Part) -> None:
        assert part == "val"
        calls.append(root)
        shutil.copytree(val, root, dirs_exist_ok=True)

    monkeypatch.setattr(embedded, "render", copy)
    return calls


def images(root: Path) -> list[Path]:
    """Return the files in the order of their names."""
    return sorted(root.glob("*/*"), key=lambda path: path.name)


def test_rendering_gives_the_recorded_bytes(val: Path) -> None:
    """Rendered anew, the validation files have the recorded digest."""
    assert embedded.DIGEST == embedded.digest(val)


def test_validation_images_are_balanced(val: Path) -> None:
    """Every class has 5 validation images, and there is no other folder."""
    counts = Counter(path.parent.name for path in images(val))

    assert dict.fromkeys(embedded.CLASSES, 5) == counts
    assert sorted(embedded.CLASSES) == sorted(path.name for path in val.iterdir())


def test_classes_are_sorted_and_distinct() -> None:
    """A class's index is its place in the sorted list of 100 names."""
    assert sorted(set(embedded.CLASSES)) == list(embedded.CLASSES)
    assert len(embedded.CLASSES) == 100


def test_names_are_unique_and_tell_nothing_of_the_class(val: Path) -> None:
    """File names are numbered from 1 in an order that is shuffled over the classes."""
    names = [path.name for path in images(val)]
    classes = [path.parent.name for path in images(val)]

    assert [f"embedded_val_{number:08d}" for number in range(1, 501)] == [Path(name).stem for name in names]
    assert sum(a == b for a, b in pairwise(classes)) < 25
    assert {".JPEG": 450, ".jpeg": 25, ".jpg": 25} == Counter(Path(name).suffix for name in names)


def test_files_are_as_mixed_as_imagenet(val: Path) -> None:
    """A few files are grayscale, CMYK, rotated by EXIF, or PNG under the name of a JPEG."""
    kinds: Counter[tuple[str | None, str, int | None]] = Counter()
    for path in images(val):
        with Image.open(path) as image:
            kinds[image.format, image.mode, image.getexif().get(ORIENTATION)] += 1

    assert {
        ("JPEG", "RGB", None): 473,
        ("JPEG", "L", None): 10,
        ("JPEG", "CMYK", None): 5,
        ("JPEG", "RGB", 6): 10,
        ("PNG", "RGB", None): 2,
    } == kinds


def test_sizes_vary(val: Path) -> None:
    """Images are 180 to 520 pixels a side, of both orientations, some smaller than a model's input; files are small."""
    sizes = []
    for path in images(val):
        with Image.open(path) as image:
            sizes.append(image.size)

    assert min(map(min, sizes)) >= 180
    assert max(map(max, sizes)) <= 520
    assert sum(width > height for width, height in sizes) > 150
    assert sum(width < height for width, height in sizes) > 150
    assert sum(min(size) < 224 for size in sizes) > 50
    assert sum(path.stat().st_size for path in images(val)) < 500 * 16_000


def test_an_image_does_not_depend_on_the_others() -> None:
    """The pixels follow from the class and the seed alone, and another seed gives another image."""
    first, again, other = (embedded._paint("ring-h072-dots", np.random.RandomState(seed)) for seed in (5, 5, 6))

    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_cmyk_shows_the_painted_colours() -> None:
    """Converted back to RGB by Pillow, a CMYK image differs from the painted one by rounding only."""
    pixels = embedded._paint("disc-h000-plain", np.random.RandomState(1))
    cmyk = embedded._to_cmyk(pixels)
    image = Image.frombytes("CMYK", (cmyk.shape[1], cmyk.shape[0]), cmyk.tobytes())

    assert np.abs(np.asarray(image.convert("RGB")).astype(int) - pixels).max() <= 2


def test_gray_is_pillows_gray() -> None:
    """The grayscale image is Pillow's luma of the painted one, up to rounding."""
    pixels = embedded._paint("disc-h000-plain", np.random.RandomState(1))

    assert np.abs(np.asarray(Image.fromarray(pixels).convert("L")).astype(int) - embedded._to_gray(pixels)).max() <= 1


def test_png_holds_exactly_the_painted_pixels(tmp_path: Path) -> None:
    """The hand-made PNG, of several stored blocks, is read back without loss."""
    pixels = embedded._paint("wide-h216-checks", np.random.RandomState(2))
    (tmp_path / "image.png").write_bytes(embedded._png(pixels))

    with Image.open(tmp_path / "image.png") as image:
        assert np.array_equal(pixels, np.asarray(image))


def test_fitting_images_are_balanced_and_others(val: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every class has 4 fitting images, plain RGB JPEG files, none of them a validation image."""
    monkeypatch.setattr(embedded, "CLASSES", embedded.CLASSES[:7])

    embedded.render(tmp_path, "fit")

    assert dict.fromkeys(embedded.CLASSES, 4) == Counter(path.parent.name for path in images(tmp_path))
    assert {path.name for path in images(tmp_path)}.isdisjoint(path.name for path in images(val))
    assert {path.read_bytes() for path in images(tmp_path)}.isdisjoint(path.read_bytes() for path in images(val))
    for path in images(tmp_path):
        with Image.open(path) as image:
            assert (image.format, image.mode) == ("JPEG", "RGB")


def test_digest_is_that_of_sha256sum(tmp_path: Path) -> None:
    """The digest covers every file's bytes and path, in the order of the paths, as sha256sum lists them."""
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "x").write_bytes(b"one")
    (tmp_path / "a").write_bytes(b"two")
    listing = f"{hashlib.sha256(b'two').hexdigest()}  a\n{hashlib.sha256(b'one').hexdigest()}  b/x\n"

    assert hashlib.sha256(listing.encode()).hexdigest() == embedded.digest(tmp_path)


def test_first_call_renders_and_later_calls_only_check(quick_render: list[Path], tmp_path: Path) -> None:
    """The images are rendered once into a folder named by the digest, and nothing else stays in the cache."""
    folder = embedded.ensure_rendered(tmp_path / "cache")
    again = embedded.ensure_rendered(tmp_path / "cache")

    assert folder == again == tmp_path / "cache" / f"embedded-{embedded.DIGEST[:12]}"
    assert embedded.DIGEST == embedded.digest(folder)
    assert [folder] == list((tmp_path / "cache").iterdir())
    assert len(quick_render) == 1


@pytest.mark.parametrize("damage", ["byte", "missing", "extra", "no folder", "renamed"])
def test_damage_is_found_and_put_right(quick_render: list[Path], tmp_path: Path, damage: str) -> None:
    """A changed byte, a missing, foreign or renamed file leads to one new rendering, after which all is as recorded."""
    folder = embedded.ensure_rendered(tmp_path)
    victim = images(folder)[17]
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

    assert folder == embedded.ensure_rendered(tmp_path)
    assert embedded.DIGEST == embedded.digest(folder)
    assert [folder] == list(tmp_path.iterdir())
    assert len(quick_render) == 2


@pytest.mark.parametrize("before", ["nothing", "damaged"])
def test_many_may_render_at_once(val: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str) -> None:
    """Whoever comes second puts the same files into the same place, and no one fails or leaves anything behind."""
    everyone = threading.Barrier(3)
    failures: list[BaseException] = []

    def render_together(root: Path, part: embedded.Part) -> None:
        assert part == "val"
        shutil.copytree(val, root, dirs_exist_ok=True)
        everyone.wait(timeout=30)

    def ensure() -> None:
        try:
            embedded.ensure_rendered(tmp_path)
        except BaseException as error:
            failures.append(error)

    monkeypatch.setattr(embedded, "render", render_together)
    folder = tmp_path / f"embedded-{embedded.DIGEST[:12]}"
    if before == "damaged":
        (folder / embedded.CLASSES[0]).mkdir(parents=True)
    threads = [threading.Thread(target=ensure) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    assert embedded.DIGEST == embedded.digest(folder)
    assert [folder] == list(tmp_path.iterdir())


def test_a_cache_that_cannot_be_written_is_named(quick_render: list[Path], tmp_path: Path) -> None:
    """A cache that cannot be made is an error that names the folder and the variable to set."""
    (tmp_path / "cache").write_text("a file where the folder should be")

    with pytest.raises(SplitError, match=r"cache.*embedded-\w{12}.*XDG_CACHE_HOME"):
        embedded.ensure_rendered(tmp_path / "cache")
    assert quick_render == []


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fills up while rendering is an error that says so, and the half-written folder goes."""

    def fill(root: Path, part: embedded.Part) -> None:
        (root / part).write_bytes(b"some")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(embedded, "render", fill)

    with pytest.raises(SplitError, match=r"No space left on device.*XDG_CACHE_HOME"):
        embedded.ensure_rendered(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_another_encoder_is_refused(quick_render: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that are not the recorded ones even when fresh are refused once, naming Pillow's and libjpeg's version."""
    monkeypatch.setattr(embedded, "DIGEST", "0" * 64)

    with pytest.raises(SplitError, match=rf"Pillow {PIL.__version__} with libjpeg-turbo .*do not apply"):
        embedded.ensure_rendered(tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert len(quick_render) == 1


def test_the_default_cache_is_the_users(
    quick_render: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a folder the images go to the user's cache, under the project's name."""
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda name: tmp_path / name)

    assert tmp_path / "imagenet-gate" == embedded.ensure_rendered().parent
    assert len(quick_render) == 1
