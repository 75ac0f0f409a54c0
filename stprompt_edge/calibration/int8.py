"""fp32 encoder and footage -> encoder.int8.onnx in the bundle, with as many layers in int8 as parity allows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from stprompt_edge.bundle import ENCODER, ENCODER_NAMES, Bundle, ParityFigures, seal_bundle
from stprompt_edge.calibration.costs import layer_costs
from stprompt_edge.calibration.frames import Choice, choose_frames, read_frames
from stprompt_edge.calibration.layers import Layer, find_layers, layer_labels
from stprompt_edge.calibration.qdq import ROUNDING, quantize_static_int8
from stprompt_edge.calibration.ranges import measure_ranges
from stprompt_edge.calibration.records import AucFigures, Int8Calibration, Int8Settings, LayerRow
from stprompt_edge.calibration.report import write_report
from stprompt_edge.calibration.rules import broken_rules
from stprompt_edge.calibration.staging import amended_bundle
from stprompt_edge.datasets import Dataset
from stprompt_edge.errors import CheckFailed, UsageError
from stprompt_edge.evaluation.evaluating import evaluate_bundle
from stprompt_edge.evaluation.records import EvaluationSettings
from stprompt_edge.export.activations import Feed, measure_activations
from stprompt_edge.export.parity import MAX_SCORE_DIFFERENCE, MIN_COSINE, Trace, compare, trace, within_limits
from stprompt_edge.export.quantize import fold_weights
from stprompt_edge.export.smoothing import smooth
from stprompt_edge.masking import masked_source
from stprompt_edge.preprocess import Preprocessor
from stprompt_edge.progress import StepProgress, counter, part_of
from stprompt_edge.runtime.frames import CameraFrame

INT8_NAME = ENCODER_NAMES["int8"]
LOCATE_EVERY = 4  # of the frames to calibrate with one in so many is seen by all windows, the others as when watching
SMOOTHING_FRAMES = 16  # whose channels smoothing goes by
COST_FRAMES = 2  # that the cost of a layer is measured on
MOST_IN_FLOAT = 0.5  # with more layers in float than in int8, the casts between them cost what int8 saves
MARGIN = 0.9  # of the budget that is spent on a guess: costs of single layers do not quite add up
_CHOOSE, _MEASURE, _COSTS, _GATE, _SCORE, _END = 0.0, 0.15, 0.5, 0.7, 0.85, 0.99  # of the progress


@dataclass(frozen=True, kw_only=True)
class Quantizable:
    """All that the tries have in common.

    Args:
        model: fp32, smoothed.
        layers: of the model, in its order.
        labels: what people call them, by node.
        ranges: by activation.
        costs: by node.
    """

    model: onnx.ModelProto
    layers: Sequence[Layer]
    labels: dict[str, str]
    ranges: dict[str, float]
    costs: dict[str, float]

    @property
    def ranked(self) -> list[Layer]:
        """Costliest first."""
        return sorted(self.layers, key=lambda layer: self.costs[layer.node], reverse=True)

    def rows(self, in_float: Sequence[Layer]) -> tuple[LayerRow, ...]:
        """The report's."""
        kept = {layer.node for layer in in_float}
        return tuple(
            LayerRow(
                label=self.labels[layer.node],
                node=layer.node,
                op_type=layer.op_type,
                weight="x".join(map(str, layer.shape)),
                range=self.ranges[layer.activation],
                cost=self.costs[layer.node],
                int8=layer.node not in kept,
            )
            for layer in self.layers
        )


class Int8Calibrator:
    """One calibration.

    Args:
        bundle: with an fp32 encoder.
        settings: see there.
        dataset: labelled videos for the AUC; None for none.
        progress: told what is being done.
    """

    def __init__(self, bundle: Bundle, settings: Int8Settings, dataset: Dataset | None, progress: StepProgress) -> None:
        self._bundle = self._candidate = bundle
        self._settings = settings
        self._dataset = dataset
        self._progress = progress

    def run(self) -> tuple[Int8Calibration, tuple[Path, ...]]:
        """See `command.calibrate_int8`."""
        part = part_of(self._progress, _CHOOSE, _MEASURE)
        choice = choose_frames(self._settings.footage, self._bundle, self._settings.frames, part)
        feeds, gate = self._read(choice)
        quantizable = self._prepare(feeds)
        with amended_bundle(self._bundle, [INT8_NAME]) as folder:
            kept, parity = self._search(quantizable, gate, folder)
            missed = not within_limits(parity)
            refused = missed and not self._settings.force
            done = Int8Calibration(
                settings=self._settings,
                choice=choice,
                layers=quantizable.rows(kept),
                parity=parity.model_copy(update={"accepted_by_force": missed and not refused}),
                auc=None if refused or self._dataset is None else self._compare_auc(self._dataset),
                notes=tuple(self._notes(choice)),
            )
            self._progress("writing the report", _END)
            files = write_report(done)
            if refused:
                raise _refusal(done, files[0])
            manifest = self._bundle.manifest
            all_parity = {**manifest.parity, "int8": done.parity}
            seal_bundle(folder, manifest.model_copy(update={"parity": all_parity}), self._candidate)
        return done, files

    def _prepare(self, feeds: Sequence[Feed]) -> Quantizable:
        """Smooth, measure ranges, and measure what each layer costs."""
        every_window = [feed for feed in feeds if feed["coarse"].size]
        folded = fold_weights(onnx.load(self._bundle.file(ENCODER_NAMES["fp32"])))
        self._progress("measuring channels", _MEASURE)
        model = smooth(folded, measure_activations(folded, evenly(every_window, SMOOTHING_FRAMES)), ROUNDING).model
        layers = find_layers(model.graph)
        names = sorted({layer.activation for layer in layers})
        part = part_of(self._progress, _MEASURE, _COSTS)
        each = counter(part, f"measuring ranges, {self._settings.method}", len(feeds))
        ranges = measure_ranges(model, names, feeds, self._settings.method, each)
        each = counter(part_of(self._progress, _COSTS, _GATE), "measuring what each layer costs", len(layers))
        costs = layer_costs(model, layers, ranges, evenly(every_window, COST_FRAMES), each)
        return Quantizable(model=model, layers=layers, labels=layer_labels(folded.graph), ranges=ranges, costs=costs)

    def _read(self, choice: Choice) -> tuple[list[Feed], list[CameraFrame]]:
        """The encoder's inputs, as when watching and every now and then as when locating; and the gate's frames."""
        preprocess, geometry = Preprocessor(self._bundle.preprocessing), self._bundle.geometry
        fine, coarse = (np.arange(count)[None] for count in (geometry.fine_count, geometry.coarse_count))
        feeds: list[Feed] = []
        gate, judging = [], {(one.source, one.frame) for one in choice.gate}
        for one, frame in read_frames([*choice.calibration, *choice.gate]):
            if (one.source, one.frame) in judging:
                gate.append(frame)
                continue
            every, image = len(feeds) % LOCATE_EVERY == 0, preprocess(frame.image_bgr).image[None]
            windows = (fine, coarse) if every else (one.windows[None], coarse[:, :0])
            feeds.append(ENCODER.feed(image, *windows))
        return feeds, gate

    def _search(
        self, quantizable: Quantizable, gate: Sequence[CameraFrame], folder: Path
    ) -> tuple[list[Layer], ParityFigures]:
        """Quantize, with more of the costliest layers in float until parity holds; the last try stays in the folder."""
        ranked = quantizable.ranked
        costs = [quantizable.costs[layer.node] for layer in ranked]
        most = int(MOST_IN_FLOAT * len(ranked))
        reference, count, start = self._trace(self._bundle, "fp32", gate, _GATE), 0, _GATE
        while True:
            start = (start + _SCORE) / 2  # nobody knows how many tries are left: each takes half of the rest
            self._progress(f"quantizing, {count} of {len(ranked)} layers in float", start)
            self._write(quantizable, ranked[count:], folder)
            first, *others = self._settings.footage
            source = f"{Path(masked_source(first)).name}{f' and {len(others)} more' if others else ''}"
            figures = compare(self._trace(self._candidate, "int8", gate, start), reference, source)
            if within_limits(figures) or count == most:
                return ranked[:count], figures.model_copy(update={"float_layers": count})
            count = min(next_count(costs, count, figures), most)

    def _write(self, quantizable: Quantizable, layers: Sequence[Layer], folder: Path) -> None:
        graph = quantize_static_int8(quantizable.model, layers, quantizable.ranges)
        if broken := broken_rules(graph):
            raise CheckFailed(
                f"the int8 graph breaks {len(broken)} of TensorRT's rules, first: {broken[0]}",
                remedy="report it with the versions that `stprompt-edge doctor` prints; nothing was written",
            )
        onnx.save(graph, folder / INT8_NAME)
        self._candidate = seal_bundle(folder, self._bundle.manifest, self._candidate)

    def _trace(self, bundle: Bundle, precision: str, frames: Sequence[CameraFrame], start: float) -> Trace:
        part = part_of(self._progress, start, (start + _SCORE) / 2)
        return trace(bundle, precision, frames, counter(part, f"parity gate: {precision}", len(frames)))

    def _compare_auc(self, dataset: Dataset) -> AucFigures:
        found, of = {}, "frames"
        middle = (_SCORE + _END) / 2
        for precision, start, stop in (("fp32", _SCORE, middle), ("int8", middle, _END)):
            settings = EvaluationSettings(precision=precision)
            part = part_of(self._progress, start, stop)
            figures = evaluate_bundle(self._candidate, dataset, settings, progress=part).figures
            of, ranking = ("frames", figures.frames) if figures.frames else ("videos", figures.videos)
            if ranking is None:
                raise UsageError(
                    f"the videos of '{dataset.name}' that can be read give no AUC",
                    remedy="leave out --dataset, or add normal and abnormal ones",
                )
            found[precision] = ranking.auc
        return AucFigures(dataset=dataset.name, of=of, **found)

    def _notes(self, choice: Choice) -> Iterator[str]:
        taken, wanted = len(choice.calibration), self._settings.frames
        if taken < wanted:
            yield f"calibrated with {taken} frames, not {wanted}: the footage holds no more"


def evenly(feeds: Sequence[Feed], count: int) -> list[Feed]:
    """So many of them, spread over all."""
    places = np.linspace(0, len(feeds) - 1, min(count, len(feeds))).round().astype(int)
    return [feeds[place] for place in places]


def next_count(costs: Sequence[float], count: int, figures: ParityFigures) -> int:
    """How many layers to leave in float in the next try, more than `count`.

    Args:
        costs: of each layer alone, falling.
        count: of the last try.
        figures: that missed parity with it.
    """
    over = max((1 - figures.min_cosine) / (1 - MIN_COSINE), figures.max_score_difference / MAX_SCORE_DIFFERENCE)
    bearable = MARGIN * sum(costs[count:]) / over
    return next((more for more in range(count + 1, len(costs)) if sum(costs[more:]) <= bearable), len(costs))


def _refusal(done: Int8Calibration, report: Path) -> CheckFailed:
    figures = done.parity
    return CheckFailed(
        f"int8 missed parity with fp32 on {figures.frames} frames of {figures.source}, with {figures.float_layers} of "
        f"{len(done.layers)} layers in float: smallest cosine {figures.min_cosine:.5f} (limit {MIN_COSINE}), largest "
        f"score difference {figures.max_score_difference:.4f} (limit {MAX_SCORE_DIFFERENCE})",
        remedy=f"try another --method or more footage, use fp16, or keep it with --force; {report} names the layers, "
        "the bundle is as it was",
    )
