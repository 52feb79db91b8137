"""What the cases of one session share, and the way of one case from its name to its verdict."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from types import TracebackType

import numpy as np
import torch
import torchvision

from harness.data.decode import open_image
from harness.data.decoded import DecodedSplit, Progress
from harness.data.decoder import Decoder
from harness.data.layouts import open_split
from harness.data.preset import Geometry
from harness.data.split import Split
from harness.data.store import Store
from harness.errors import DeviceError, EvaluationError, ExpectedError
from harness.evaluation.device import default_batch_size, describe_device, device_facts, resolve_device
from harness.evaluation.feed import Feed
from harness.evaluation.forward import Normalize
from harness.evaluation.loop import predict
from harness.evaluation.memory import keep_freed_memory
from harness.evaluation.models import Loaded, geometry_of, load
from harness.evaluation.precision import refuse_lacking
from harness.evaluation.predictions import Predictions
from harness.gate.answers import Answers
from harness.gate.cases import Case
from harness.gate.cause import Evaluated
from harness.gate.scores import score
from harness.gate.verdict import judge, published_on
from harness.reporting.baseline import BaselineOptions, conditions, known_facts, open_baseline
from harness.reporting.case_record import CaseRecord, Phases, pack, pack_classes
from harness.reporting.environment import Environment, environment, versions
from harness.reporting.record import SplitFacts
from harness.reporting.run_folder import write_answers, write_inputs


class Run:
    """A split, a device, and the decoded pixels; a context manager that removes the pixels at the end."""

    def __init__(
        self,
        imagenet: str,
        *,
        device: str,
        batch_size: int | None,
        limit: int | None,
        decoder: str,
        workers: int,
        precisions: Sequence[str],
        store: Path | None,
        staging: Path | None = None,
        baseline: BaselineOptions | None = None,
    ) -> None:
        """Open the split and the device.

        Args:
            imagenet: folder or archive of images, or ``embedded``.
            device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
            batch_size: images in a forward call; None for one that suits the device.
            limit: evaluate a fixed, class-balanced subset of so many images; None for all.
            decoder: ``pillow``, ``torchvision`` or ``nvjpeg``.
            workers: decoding processes.
            precisions: that will be asked for.
            store: folder that keeps decoded images; None to keep none.
            staging: folder of a run that is being made, to write each image's answers into; None to write none.
            baseline: what to pair each case with; None to pair with nothing.

        Raises:
            HarnessError: either is not there.
        """
        self._device = resolve_device(device)
        refuse_lacking(precisions, self._device)
        self._keeps_memory = self._device.type == "cpu" and keep_freed_memory()
        self._feed = Feed(self._device)
        split = open_split(imagenet)
        self.split: Split = split.subset(limit) if limit is not None else split
        self._batch_size = batch_size or default_batch_size(self._device)
        self._workers = workers
        self._decoder = _decoder(decoder, self._device)
        self._store_folder = store
        self._store = Store(self.split, self._decoder, store, workers)
        self._staging = staging
        self._baseline = None if baseline is None else open_baseline(self.split, baseline)

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._store.__exit__(kind, error, trace)

    def environment(self) -> Environment:
        """Return what is evaluated on."""
        return environment(device_facts(self._device))

    def split_facts(self) -> SplitFacts:
        """Return what is evaluated."""
        split = self.split
        return SplitFacts(split.name, split.digest, len(split), split.total, len(set(split.targets.tolist())))

    def describe(self, settings: Sequence[str]) -> list[str]:
        """Return lines that say what is evaluated, on what, and with what."""
        split = self.split
        images = f"{len(split):,} of {split.total:,} images" if split.is_subset else f"{len(split):,} images"
        lines = [f"split: {split.name} ({split.root}), {images}, {len(set(split.targets.tolist())):,} classes"]
        if split.caveat:
            lines.append(f"split: not judged as the published one: {split.caveat}")
        if split.ignored:
            lines.append(f"split: ignored {len(split.ignored):,} files that are no images, such as {split.ignored[0]}")
        kept = f"kept in {self._store_folder}" if self._store_folder else "not kept"
        if self._baseline:
            lines.append(f"baseline: {self._baseline}")
        lines += [
            f"device: {describe_device(self._device)}, {', '.join(settings)}, batches of {self._batch_size}"
            + (", freed memory kept" if self._keeps_memory else ""),
            f"decoder: {self._decoder.name}, {self._workers} processes, decoded images {kept}",
            "versions: " + ", ".join(f"{name} {version}" for name, version in versions().items()),
        ]
        return lines

    def refuse_damaged_baseline(self, cases: tuple[Case, ...]) -> None:
        """Raise before anything is evaluated if what the cases will be paired with cannot be read.

        Raises:
            RecordError: it is damaged.
        """
        if self._baseline is not None:
            self._baseline.refuse_damage(cases)

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
        entry, started = case.entry.at(case.setting.precision), time.perf_counter()
        spec = entry.spec
        decoded = self._store.decoded(geometry_of(spec), progress)
        waited = decoded.seconds
        decoded.begin()  # while the weights are loaded
        begun = time.perf_counter()
        loaded = load(spec, self._device, case.setting)
        load_seconds = time.perf_counter() - begun
        self._check_recipe(loaded, decoded)
        if self._device.type == "cpu":
            decoded.finish()  # with the model on the same cores it takes as long, and images/s would tell of both
        predictions = predict(
            loaded.model,
            decoded,
            loaded.preset,
            feed=self._feed,
            batch_size=self._batch_size,
            setting=case.setting,
        )
        now = self._evaluated(case, loaded, decoded, predictions)
        check, paired = None, None
        if self._baseline is not None:
            published = published_on(entry, self.split) is not None
            check, paired = self._baseline.judge(case, now, published=published)
        if self._staging is not None:
            write_answers(self._staging, str(case), now.answers)
            write_inputs(self._staging, decoded.fingerprints)
        return CaseRecord(
            id=str(case),
            model=spec.model,
            weights=spec.weights,
            precision=case.setting.precision,
            memory_format=case.setting.memory_format,
            compiled=case.setting.compiled,
            split=self.split.name,
            measured=now.counted,
            expected=entry.expected_on(self.split.name),
            verdict=judge(entry, self.split, now.counted, check),
            seconds=Phases(
                decode=decoded.seconds - waited,
                load=load_seconds,
                transfer=predictions.fed,
                forward=predictions.seconds - predictions.waited - predictions.fed,
                total=time.perf_counter() - started,
            ),
            images_per_second=predictions.images_per_second,
            batch_size=predictions.batch_size,
            parameters=now.parameters,
            gflops=loaded.gflops,
            weights_sha256=now.weights,
            inputs_digest=decoded.fingerprints.digest,
            preparation=dict(now.preparation),
            switches=dict(predictions.switches),
            first_input=dict(now.first_input),
            paired=paired,
            correct=pack(now.answers.correct),
            best=pack_classes(now.answers.top5[:, 0]),
            note="; ".join([*_notes(predictions, self._batch_size), *decoded.notes()]),
        )

    def _evaluated(self, case: Case, loaded: Loaded, decoded: DecodedSplit, predictions: Predictions) -> Evaluated:
        """Return what went into the evaluation and what came out, scored."""
        preset = loaded.preset
        return Evaluated(
            answers=Answers(np.array(predictions.ids), self.split.targets, predictions.top5, predictions.logits),
            counted=score(predictions, self.split.targets, len(self.split.classes)),
            total=self.split.total,
            parameters=loaded.parameters,
            weights=loaded.sha256,
            fingerprints=decoded.fingerprints,
            preparation={
                "decoder": self._decoder.name,
                **asdict(preset.geometry),
                "mean": list(preset.mean),
                "std": list(preset.std),
            },
            first_input=predictions.first_input,
            conditions=conditions(predictions.switches, str(case.setting), predictions.batch_size),
            environment=known_facts(self.environment()),
        )

    def _check_recipe(self, loaded: Loaded, decoded: DecodedSplit) -> None:
        """Compare the first image with what torchvision's own preset makes of its file, bit for bit."""
        if loaded.transform is None or self._decoder.name != "pillow":
            return
        ours = Normalize(loaded.preset, torch.device("cpu"))(torch.tensor(decoded.read(slice(0, 1))))[0]
        theirs = loaded.transform(open_image(self.split.sources[0].read()))
        if not torch.equal(ours, theirs):
            raise EvaluationError(
                f"the pixels of {decoded.ids[0]} are not those of torchvision's own preset ({decoded.geometry}): "
                "this torchvision prepares images in a way that the harness does not know"
            )


def decode_ahead(
    imagenet: str,
    cases: Sequence[Case],
    *,
    device: str,
    decoder: str,
    workers: int,
    store: Path,
    progress: Progress,
) -> Iterator[tuple[Geometry, float]]:
    """Fill the store with all that the cases need; yield each geometry with the seconds that it took.

    Raises:
        HarnessError: the images or the store cannot be used, or a model is not known.
    """
    geometries = dict.fromkeys(geometry_of(case.entry.spec) for case in cases)
    found = _decoder(decoder, resolve_device(device) if decoder == "nvjpeg" else torch.device("cpu"))
    with Store(open_split(imagenet), found, store, workers) as decoding:
        for geometry in geometries:
            started = time.perf_counter()
            decoding.decoded(geometry, progress).finish()
            yield geometry, time.perf_counter() - started


def _decoder(name: str, device: torch.device) -> Decoder:
    """Return the decoder by name.

    Raises:
        DeviceError: nvjpeg without a CUDA device, or with a torchvision that decodes no batches there.
    """
    if name != "nvjpeg":
        return Decoder(name)
    if device.type != "cuda":
        raise DeviceError(f"--decoder nvjpeg decodes on a CUDA device, and the device is {device}; use torchvision")
    if tuple(int(part) for part in torchvision.__version__.split(".")[:2]) < (0, 20):
        raise DeviceError(f"--decoder nvjpeg needs torchvision 0.20, found {torchvision.__version__}; use torchvision")
    return Decoder(name, str(device))


def _notes(predictions: Predictions, batch_size: int) -> list[str]:
    if predictions.batch_size == batch_size:
        return []
    return [f"out of memory in batches of {batch_size}: ran in batches of {predictions.batch_size}"]
