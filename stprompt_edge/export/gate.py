"""Every precision through the parity gate; `cpu8` is made here, with as many products in int8 as the gate allows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx

from stprompt_edge.bundle import ENCODER, ENCODER_NAMES, Bundle, ParityFigures, seal_bundle
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
    """What a bundle in the making is checked with.

    Args:
        frames: real ones.
        source: name of their video.
        force: keep what misses.
        progress: told what is being done.
    """

    frames: Sequence[CameraFrame]
    source: str
    force: bool
    progress: StepProgress

    def run(self, bundle: Bundle, precisions: Sequence[str], fp32: onnx.ModelProto) -> Bundle:
        """Compare each precision with fp32.

        Args:
            bundle: with the fp32 encoder and all else but cpu8 and figures; sealed.
            precisions: wanted ones; fp32 itself needs no comparison.
            fp32: the graph that cpu8 is made of.

        Returns:
            The bundle with cpu8, and with figures that are not on the disk yet.

        Raises:
            CheckFailed: if one misses the limits, unless `force`.
        """
        middle = (_START + _CPU8) / 2
        reference = self._trace(bundle, "fp32", "fp32", _START, middle)
        parity = {}
        if "fp16" in precisions:
            figures = compare(self._trace(bundle, "fp16", "fp16", middle, _CPU8), reference, self.source)
            parity["fp16"] = check_parity("fp16", figures, force=self.force)
        if "cpu8" in precisions:
            bundle, figures = self._write_cpu8(bundle, fp32, reference)
            parity["cpu8"] = check_parity("cpu8", figures, force=self.force)
        return replace(bundle, manifest=bundle.manifest.model_copy(update={"parity": parity}))

    def _write_cpu8(self, bundle: Bundle, fp32: onnx.ModelProto, reference: Trace) -> tuple[Bundle, ParityFigures]:
        """Quantize, with more of the worst products in float until the limits are kept; the last try stays."""
        self.progress("measuring activations for cpu8", _CPU8)
        smoothed = smooth_for_cpu8(fp32, self._feeds(bundle))
        ranked = worst_first(smoothed.model, smoothed.activations)
        start = _CPU8 + 0.04
        for count in FLOAT_LAYERS:
            kept = ranked[:count]
            name = f"cpu8, {len(kept)} products in float" if kept else "cpu8"
            self.progress(f"quantizing {name}", start)
            quantize_dynamic_int8(smoothed.model, bundle.path / ENCODER_NAMES["cpu8"], kept)
            bundle = seal_bundle(bundle.path, bundle.manifest, bundle)
            stop = (start + _END) / 2  # nobody knows how many tries are left: each takes half of the rest
            figures = compare(self._trace(bundle, "cpu8", name, start, stop), reference, self.source)
            figures = figures.model_copy(update={"float_layers": len(kept)})
            if within_limits(figures):
                break
            start = stop
        return bundle, figures

    def _feeds(self, bundle: Bundle) -> Iterator[Feed]:
        """The encoder's inputs for each frame with all of its windows."""
        preprocess = Preprocessor(bundle.preprocessing)
        fine, coarse = (np.arange(n)[None] for n in (bundle.geometry.fine_count, bundle.geometry.coarse_count))
        for frame in self.frames:
            yield ENCODER.feed(preprocess(frame.image_bgr).image[None], fine, coarse)

    def _trace(self, bundle: Bundle, precision: str, name: str, start: float, stop: float) -> Trace:
        each = counter(part_of(self.progress, start, stop), f"parity gate: {name}", len(self.frames))
        return trace(bundle, precision, self.frames, each)


def smooth_for_cpu8(fp32: onnx.ModelProto, feeds: Iterator[Feed]) -> Smoothed:
    """The fp32 graph made easy to quantize, and what flows in it.

    Args:
        fp32: not changed.
        feeds: of real frames.
    """
    folded = fold_weights(fp32)
    return smooth(folded, measure_activations(folded, feeds))
