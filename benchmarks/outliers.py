"""cpu8 when activations have outlier channels, as trained CLIP has: seeded ViT-B/16 with outliers put in.

Each kind scales a few random channels up and what reads them down by the same factor, so that the share of the signal
that they carry stays as it was. `norms` and `values` leave the network's function as it is.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from rich.table import Table

from benchmarks.common import console, footage, write_result
from stprompt_edge.export.activations import Feed, measure_activations, worst_first
from stprompt_edge.export.gate import FLOAT_LAYERS
from stprompt_edge.export.graphs import export_encoder
from stprompt_edge.export.parity import MIN_COSINE, read_parity_frames
from stprompt_edge.export.quantize import fold_weights, quantize_dynamic_int8
from stprompt_edge.export.smoothing import Smoothed, smooth
from stprompt_edge.geometry import Geometry
from stprompt_edge.model.clip import load_clip
from stprompt_edge.model.encoder import PackedEncoder
from stprompt_edge.preprocess import Preprocessing, Preprocessor
from stprompt_edge.runtime.backends.onnx import CPU, open_session
from stprompt_edge.runtime.watch import versions

CLIP = "ViT-B-16-quickgelu"
FRAMES = 4  # from each video
CHANNELS = 4  # outliers in each tensor
CASES: tuple[tuple[str, ...], ...] = (
    (),
    ("norms",),
    ("mlp",),
    ("values",),
    ("norms", "mlp"),
    ("norms", "mlp", "values"),
)


def main() -> None:
    """Measure and write outliers.json: activations measured on the first video, embeddings compared on the last."""
    videos = footage()
    measured_on, compared_on = (all_windows(video) for video in (videos[0], videos[-1]))
    table = Table("outliers", "recipe", "products in float", "min cosine")
    rows = []
    for case in CASES:
        for row in study(case, measured_on, compared_on):
            name = " + ".join(case) or "none"
            rows.append({"outliers": name, **row})
            table.add_row(name, row["recipe"], str(row["float_products"]), f"{row['min_cosine']:.5f}")
            console.print(rows[-1])
    console.print(table)
    facts = {"model": CLIP, "outlier_channels": CHANNELS, "measured_on": videos[0].name, "compared_on": videos[-1].name}
    write_result("outliers", {**facts, "frames": FRAMES, "limit": MIN_COSINE, "rows": rows, "versions": versions()})


def study(case: Collection[str], measured_on: list[Feed], compared_on: list[Feed]) -> list[dict[str, Any]]:
    """Smallest cosine to fp32 of the plain recipe, and of the smoothed one with ever more products in float."""
    clip = load_clip(CLIP, "none", seed=0)
    add_outliers(clip.model.visual, case)
    encoder = PackedEncoder(clip.model.visual, Geometry(image_size=224, patch_size=clip.patch_size)).eval()
    fp32 = fold_weights(export_encoder(encoder))
    activations = measure_activations(fp32, measured_on)
    smoothed = smooth(fp32, activations)
    ranked = worst_first(smoothed.model, smoothed.activations)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "encoder.onnx"
        onnx.save(fp32, file)
        reference = embed(file, compared_on)
        for recipe, graph, counts in (("plain", Smoothed(model=fp32, activations=activations), (0,)),
                                      ("smoothed", smoothed, FLOAT_LAYERS)):  # fmt: skip
            for count in counts:
                quantize_dynamic_int8(graph.model, file, ranked[:count])
                cosine = smallest_cosine(embed(file, compared_on), reference)
                rows.append({"recipe": recipe, "float_products": count, "min_cosine": round(cosine, 6)})
                if cosine >= MIN_COSINE:
                    break
    return rows


@torch.no_grad()
def add_outliers(visual: Any, kinds: Collection[str], seed: int = 0) -> None:
    """Put outlier channels into every block of a CLIP vision tower, in place.

    Args:
        visual: open_clip's vision tower.
        kinds: `norms`, 30 to 100 times larger behind ln_1 and ln_2; `mlp`, inputs of c_proj about 20 to 50 times
            larger, by larger rows of c_fc; `values`, inputs of out_proj 20 to 50 times larger, by the values' rows.
        seed: of channels and factors.
    """
    rng = np.random.default_rng(seed)

    def draw(width: int, low: float, high: float) -> tuple[torch.Tensor, torch.Tensor]:
        factors = rng.uniform(low, high, CHANNELS).astype(np.float32)
        return torch.from_numpy(rng.permutation(width)[:CHANNELS]), torch.from_numpy(factors)

    for block in visual.transformer.resblocks:
        attention, mlp = block.attn, block.mlp
        width = block.ln_1.weight.shape[0]
        if "norms" in kinds:
            for norm, weight in ((block.ln_1, attention.in_proj_weight), (block.ln_2, mlp.c_fc.weight)):
                channels, factors = draw(width, 30, 100)
                norm.weight[channels] *= factors
                norm.bias[channels] *= factors
                weight[:, channels] /= factors
        if "mlp" in kinds:
            channels, factors = draw(mlp.c_fc.weight.shape[0], 20, 50)
            mlp.c_fc.weight[channels] *= factors[:, None]
            mlp.c_fc.bias[channels] *= factors
            mlp.c_proj.weight[:, channels] /= factors
        if "values" in kinds:
            channels, factors = draw(width, 20, 50)
            attention.in_proj_weight[2 * width + channels] *= factors[:, None]
            attention.in_proj_bias[2 * width + channels] *= factors
            attention.out_proj.weight[:, channels] /= factors


def all_windows(video: Path) -> list[Feed]:
    """The encoder's inputs for frames of a video, with all fine and coarse windows."""
    preprocess = Preprocessor(Preprocessing())
    windows = {"fine": np.arange(49)[None], "coarse": np.arange(16)[None]}
    frames = read_parity_frames(video, FRAMES)
    return [{"image": preprocess(frame.image_bgr).image[None], **windows} for frame in frames]


def embed(file: Path, feeds: list[Feed]) -> NDArray[np.float32]:
    """All embeddings, [frames * 66, D]."""
    session = open_session(file, CPU, None)
    return np.concatenate([output[0].reshape(-1, output.shape[-1]) for f in feeds for output in session.run(None, f)])


def smallest_cosine(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Over the rows of two [N, D] arrays."""
    x, y = a.astype(np.float64), b.astype(np.float64)
    return float(((x * y).sum(axis=1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1)).min())


if __name__ == "__main__":
    main()
