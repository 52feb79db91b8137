"""What the cases of one session share, and the way of one case from its name to its verdict."""

from __future__ import annotations

from itertools import chain
from types import TracebackType

import torch

from harness.data.decode import open_image
from harness.data.layouts import open_split
from harness.data.preset import Geometry
from harness.data.split import Split
from harness.data.store import DecodedSplit, Progress, Store
from harness.errors import EvaluationError, ExpectedError
from harness.evaluation.device import default_batch_size, describe_device, resolve_device
from harness.evaluation.forward import Normalize
from harness.evaluation.loop import predict
from harness.evaluation.models import Loaded, geometry_of, load
from harness.evaluation.precision import PRECISIONS
from harness.gate.cases import Case
from harness.gate.scores import correct, score
from harness.gate.verdict import judge
from harness.reporting.environment import versions
from harness.reporting.record import CaseRecord, expected_hits, pack


class Run:
    """A split, a device, and the decoded pixels; a context manager that removes the pixels at the end."""

    def __init__(self, imagenet: str, *, device: str, batch_size: int | None, limit: int | None, workers: int) -> None:
        """Open the split and the device.

        Args:
            imagenet: folder of images, or ``embedded``.
            device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
            batch_size: images in a forward call; None for one that suits the device.
            limit: evaluate a fixed, class-balanced subset of so many images; None for all.
            workers: decoding processes.

        Raises:
            HarnessError: either is not there.
        """
        self._device = resolve_device(device)
        split = open_split(imagenet)
        self.split: Split = split.subset(limit) if limit is not None else split
        self._batch_size = batch_size or default_batch_size(self._device)
        self._workers = workers
        self._store = Store(self.split, workers)

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._store.__exit__(kind, error, trace)

    def describe(self, precisions: tuple[str, ...]) -> list[str]:
        """Return lines that say what is evaluated, on what, and with what."""
        split = self.split
        images = f"{len(split):,} of {split.total:,} images" if split.is_subset else f"{len(split):,} images"
        lines = [f"split: {split.name} ({split.root}), {images}, {len(set(split.targets.tolist())):,} classes"]
        if split.caveat:
            lines.append(f"split: not judged as the published one: {split.caveat}")
        if split.ignored:
            lines.append(f"split: ignored {len(split.ignored):,} files that are no images, such as {split.ignored[0]}")
        lines += [
            f"device: {describe_device(self._device)}, {', '.join(precisions)}, batches of {self._batch_size}, "
            f"{self._workers} decoding processes",
            "versions: " + ", ".join(f"{name} {version}" for name, version in versions().items()),
        ]
        return lines

    def order(self, cases: tuple[Case, ...]) -> dict[str, int]:
        """Return each case's place, by id, in an order that keeps cases of one geometry together.

        Raises:
            ExpectedError: torchvision does not know a model or its weights; named with its place in the file.
        """
        geometries: dict[Geometry, list[str]] = {}
        for case in cases:
            try:
                geometry = geometry_of(case.entry.spec)
            except ExpectedError as error:
                raise ExpectedError(f"{case.entry.where}: {error}") from error
            geometries.setdefault(geometry, []).append(str(case))
        return {case: place for place, case in enumerate(chain.from_iterable(geometries.values()))}

    def evaluate(self, case: Case, progress: Progress) -> CaseRecord:
        """Evaluate and judge one case.

        Raises:
            HarnessError: its weights, its images or its answers are not usable.
        """
        spec = case.entry.spec
        loaded = load(spec, self._device)
        decoded = self._store.decoded(loaded.preset.geometry, progress)
        self._check_recipe(loaded, decoded)
        predictions = predict(
            loaded.model,
            decoded,
            loaded.preset,
            device=self._device,
            precision=PRECISIONS[case.precision],
            batch_size=self._batch_size,
        )
        measured = score(predictions, self.split.targets, len(self.split.classes))
        expected, origin = expected_hits(case.entry.expected_on(self.split.name))
        return CaseRecord(
            id=str(case),
            model=spec.model,
            weights=spec.weights,
            precision=case.precision,
            split=self.split.name,
            measured=measured,
            expected=expected,
            origin=origin,
            verdict=judge(case.entry, self.split, measured),
            correct=pack(correct(predictions, self.split.targets)),
            parameters=loaded.parameters,
            gflops=loaded.gflops,
            images_per_second=predictions.images_per_second,
            note=""
            if predictions.batch_size == self._batch_size
            else f"out of memory in batches of {self._batch_size}: ran in batches of {predictions.batch_size}",
        )

    def _check_recipe(self, loaded: Loaded, decoded: DecodedSplit) -> None:
        """Compare the first image with what torchvision's own preset makes of its file, bit for bit."""
        if loaded.transform is None:
            return
        theirs = loaded.transform(open_image(self.split.paths[0]))
        ours = Normalize(loaded.preset, torch.device("cpu"))(torch.tensor(decoded.images[:1]))[0]
        if not torch.equal(ours, theirs):
            raise EvaluationError(
                f"the pixels of {decoded.ids[0]} are not those of torchvision's own preset ({decoded.geometry}): "
                "this torchvision prepares images in a way that the harness does not know"
            )
