"""What the cases of one session share, and the way of one case from its name to its verdict."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from types import TracebackType

import numpy as np
import torch

from harness.data.decode import open_image
from harness.data.decoded import DecodedSplit
from harness.data.layouts import open_split
from harness.data.preset import Geometry
from harness.data.split import Split
from harness.data.store import Store
from harness.errors import EvaluationError, ExpectedError
from harness.evaluation.device import decoder_on, default_batch_size, describe_device, device_facts, resolve_device
from harness.evaluation.feed import Feed
from harness.evaluation.forward import Normalize
from harness.evaluation.loop import predict
from harness.evaluation.memory import keep_freed_memory
from harness.evaluation.models import Loaded, cost_of, geometry_of, load
from harness.evaluation.place import ALONE, Place, dealt, share_threads
from harness.evaluation.precision import refuse_lacking
from harness.evaluation.predictions import Predictions
from harness.evaluation.ranks import Ranks
from harness.evaluation.share import Share, join
from harness.evaluation.spec import ModelFacts
from harness.gate.answers import Answers
from harness.gate.cases import Case
from harness.gate.cause import Evaluated
from harness.gate.scores import score
from harness.gate.verdict import judge, published_on
from harness.reporting.baseline import BaselineOptions, conditions, known_facts, open_baseline
from harness.reporting.case_record import CaseRecord, Phases, pack, pack_classes
from harness.reporting.environment import Environment, environment, versions
from harness.reporting.progress import CaseProgress
from harness.reporting.record import SplitFacts
from harness.reporting.run_folder import write_answers, write_inputs


class Run:
    """A split, a device, and the decoded pixels; a context manager that removes these and restores torch's threads."""

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
        place: Place = ALONE,
        ranks: Ranks | None = None,
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
            place: of this process among others.
            ranks: those that the images of each case are shared with; None for all images in this process.

        Raises:
            HarnessError: either is not there.
        """
        self._threads = torch.get_num_threads()
        share_threads(place, os.environ)
        self._device = resolve_device(device)
        refuse_lacking(precisions, self._device)
        self._keeps_memory = self._device.type == "cpu" and keep_freed_memory()
        self._feed = Feed(self._device)
        split = open_split(imagenet)
        self.split: Split = split.subset(limit) if limit is not None else split
        self._batch_size = batch_size or default_batch_size(self._device)
        self._workers = workers
        self._decoder = decoder_on(decoder, self._device)
        self._store_folder = store
        self._place = place
        self._ranks = ranks
        self._own = self.split.share(place.rank, place.world)
        self._store = Store(self._own, self._decoder, store, workers)
        self._staging = staging
        self._baseline = None if baseline is None else open_baseline(self.split, baseline)

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._store.__exit__(kind, error, trace)
        torch.set_num_threads(self._threads)

    def environment(self) -> Environment:
        """Return what is evaluated on."""
        return environment(device_facts(self._device), self._place.processes)

    def split_facts(self) -> SplitFacts:
        """Return what is evaluated."""
        split = self.split
        with_images = len(set(split.targets.tolist()))
        return SplitFacts(split.name, split.digest, len(split), split.total, with_images, split.classes)

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
            + (", freed memory kept" if self._keeps_memory else "")
            + (f", {self._place.processes} processes" if self._place.processes > 1 else ""),
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

        Where several processes have cases of their own, large models come first, so that none is left over at the end.

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
        ordered = list(chain.from_iterable(geometries.values()))
        if self._place.world < self._place.processes:
            costs = {str(case): cost_of(case.entry.spec) for case in cases}
            ordered = dealt(sorted(ordered, key=lambda case: -costs[case]), self._place.processes)
        return {case: place for place, case in enumerate(ordered)}

    def evaluate(self, case: Case, progress: CaseProgress) -> CaseRecord:
        """Evaluate and judge one case; with ranks, each answers its share of the images, and the first judges all.

        Raises:
            HarnessError: its weights, its images or its answers are not usable, here or on another rank.
        """
        started = time.perf_counter()
        if self._ranks is None:
            return self._judged(case, self._answered(case, progress), started)
        shares = self._ranks.gather(f"its answers of {case}", lambda: self._answered(case, progress))
        return self._ranks.from_first(
            f"the verdict of {case}", lambda: self._judged(case, join(shares, self.split.ids), started)
        )

    def _answered(self, case: Case, progress: CaseProgress) -> Share:
        """Return the model's answers to the images of this process."""
        if not len(self._own):
            return Share.none()
        spec = case.entry.spec
        decoded = self._store.decoded(geometry_of(spec), progress.decoding)
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
            loaded.facts.preset,
            feed=self._feed,
            batch_size=self._batch_size,
            setting=case.setting,
            progress=progress.forward,
        )
        return Share(
            predictions=predictions,
            fingerprints=decoded.fingerprints,
            model=loaded.facts,
            decode_seconds=decoded.seconds - waited,
            load_seconds=load_seconds,
            notes=(*_notes(predictions, self._batch_size), *decoded.notes()),
        )

    def _judged(self, case: Case, share: Share, started: float) -> CaseRecord:
        """Judge the answers to all images, write them where a run is being made, and return the record."""
        assert share.model is not None
        entry, predictions = case.entry.at(case.setting.precision), share.predictions
        now = self._evaluated(case, share, share.model)
        check, paired = None, None
        if self._baseline is not None:
            published = published_on(entry, self.split) is not None
            check, paired = self._baseline.judge(case, now, published=published)
        if self._staging is not None:
            write_answers(self._staging, str(case), now.answers)
            write_inputs(self._staging, share.fingerprints)
        return CaseRecord(
            id=str(case),
            model=entry.spec.model,
            weights=entry.spec.weights,
            precision=case.setting.precision,
            memory_format=case.setting.memory_format,
            compiled=case.setting.compiled,
            split=self.split.name,
            measured=now.counted,
            expected=entry.expected_on(self.split.name),
            verdict=judge(entry, self.split, now.counted, check),
            seconds=Phases(
                decode=share.decode_seconds,
                load=share.load_seconds,
                transfer=predictions.fed,
                forward=predictions.seconds - predictions.waited - predictions.fed,
                total=time.perf_counter() - started,
            ),
            images_per_second=predictions.images_per_second,
            batch_size=predictions.batch_size,
            parameters=now.parameters,
            gflops=share.model.gflops,
            weights_bytes=share.model.weights_bytes,
            weights_sha256=now.weights,
            inputs_digest=share.fingerprints.digest,
            preparation=dict(now.preparation),
            switches=dict(predictions.switches),
            first_input=dict(now.first_input),
            paired=paired,
            correct=pack(now.answers.correct),
            best=pack_classes(now.answers.top5[:, 0]),
            note="; ".join(share.notes),
        )

    def _evaluated(self, case: Case, share: Share, model: ModelFacts) -> Evaluated:
        """Return what went into the evaluation and what came out, scored."""
        preset, predictions = model.preset, share.predictions
        return Evaluated(
            answers=Answers(np.array(predictions.ids), self.split.targets, predictions.top5, predictions.logits),
            counted=score(predictions, self.split.targets, len(self.split.classes)),
            total=self.split.total,
            parameters=model.parameters,
            weights=model.sha256,
            fingerprints=share.fingerprints,
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
        ours = Normalize(loaded.facts.preset, torch.device("cpu"))(torch.tensor(decoded.read(slice(0, 1))))[0]
        theirs = loaded.transform(open_image(self._own.sources[0].read()))
        if not torch.equal(ours, theirs):
            raise EvaluationError(
                f"the pixels of {decoded.ids[0]} are not those of torchvision's own preset ({decoded.geometry}): "
                "this torchvision prepares images in a way that the harness does not know"
            )


def _notes(predictions: Predictions, batch_size: int) -> list[str]:
    if predictions.batch_size == batch_size:
        return []
    return [f"out of memory in batches of {batch_size}: ran in batches of {predictions.batch_size}"]
