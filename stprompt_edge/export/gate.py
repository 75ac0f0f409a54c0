"""Every precision through the parity gate; `cpu8` is made here, with as many products in int8 as the gate allows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from stprompt_edge.bundle import ENCODER, ENCODER_NAMES, Manifest, ParityFigures, load_bundle, seal_bundle
from stprompt_edge.export.activations import Feed, measure_activations, worst_first
from stprompt_edge.export.parity import Trace, check_parity, compare, trace, within_limits
from stprompt_edge.export.quantize import fold_weights, quantize_dynamic_int8
from stprompt_edge.export.smoothing import Smoothed, smooth
from stprompt_edge.preprocess import Preprocessor
from stprompt_edge.progress import StepProgress, counter, part_of
from stprompt_edge.runtime.frames import CameraFrame

FLOAT_LAYERS = (0, 4, 12, 24)  # of the 50 products of ViT-B/16, worst first, until the gate is passed
_START, _CPU8, _END = 0.55, 0.75, 0.97  # of the export's progress


@dataclass(frozen=True, kw_only=True)
class Gate:
    """A bundle in the making and what it is checked with.

    Args:
        folder: holds the fp32 encoder and all else but cpu8; sealed.
        manifest: without parity and files.
        frames: real ones.
        source: name of their video.
        force: keep what misses.
        progress: told what is being done.
    """

    folder: Path
    manifest: Manifest
    frames: Sequence[CameraFrame]
    source: str
    force: bool
    progress: StepProgress

    def run(self, precisions: Sequence[str], fp32: onnx.ModelProto) -> dict[str, ParityFigures]:
        """Compare each precision with fp32.

        Args:
            precisions: wanted ones; fp32 itself needs no comparison.
            fp32: the graph that cpu8 is made of.

        Raises:
            CheckFailed: if one misses the limits, unless `force`.
        """
        middle = (_START + _CPU8) / 2
        reference = self._trace("fp32", "fp32", _START, middle)
        parity = {}
        if "fp16" in precisions:
            figures = compare(self._trace("fp16", "fp16", middle, _CPU8), reference, self.source)
            parity["fp16"] = check_parity("fp16", figures, force=self.force)
        if "cpu8" in precisions:
            parity["cpu8"] = check_parity("cpu8", self._write_cpu8(fp32, reference), force=self.force)
        return parity

    def _write_cpu8(self, fp32: onnx.ModelProto, reference: Trace) -> ParityFigures:
        """Quantize, with more of the worst products in float until the limits are kept; the last try stays."""
        self.progress("measuring activations for cpu8", _CPU8)
        smoothed = smooth_for_cpu8(fp32, self._feeds())
        ranked = worst_first(smoothed.model, smoothed.activations)
        start = _CPU8 + 0.04
        for count in FLOAT_LAYERS:
            kept = ranked[:count]
            name = f"cpu8, {len(kept)} products in float" if kept else "cpu8"
            self.progress(f"quantizing {name}", start)
            quantize_dynamic_int8(smoothed.model, self.folder / ENCODER_NAMES["cpu8"], kept)
            seal_bundle(self.folder, self.manifest)
            stop = (start + _END) / 2  # nobody knows how many tries are left: each takes half of the rest
            figures = compare(self._trace("cpu8", name, start, stop), reference, self.source)
            figures = figures.model_copy(update={"float_layers": len(kept)})
            if within_limits(figures):
                break
            start = stop
        return figures

    def _feeds(self) -> Iterator[Feed]:
        """The encoder's inputs for each frame with all of its windows."""
        bundle = load_bundle(self.folder)
        preprocess = Preprocessor(bundle.preprocessing)
        fine, coarse = (np.arange(n)[None] for n in (bundle.geometry.fine_count, bundle.geometry.coarse_count))
        for frame in self.frames:
            yield ENCODER.feed(preprocess(frame.image_bgr).image[None], fine, coarse)

    def _trace(self, precision: str, name: str, start: float, stop: float) -> Trace:
        each = counter(part_of(self.progress, start, stop), f"parity gate: {name}", len(self.frames))
        return trace(load_bundle(self.folder), precision, self.frames, each)


def smooth_for_cpu8(fp32: onnx.ModelProto, feeds: Iterator[Feed]) -> Smoothed:
    """The fp32 graph made easy to quantize, and what flows in it.

    Args:
        fp32: not changed.
        feeds: of real frames.
    """
    folded = fold_weights(fp32)
    return smooth(folded, measure_activations(folded, feeds))
