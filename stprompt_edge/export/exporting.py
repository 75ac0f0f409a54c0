"""CLIP, a vocabulary and perhaps a checkpoint -> a bundle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import onnx
import torch
from safetensors.numpy import save

from stprompt_edge import __version__
from stprompt_edge.bundle import (
    ENCODER_NAMES,
    HEADS_NAME,
    METHOD_TRAITS,
    TEXT_NAME,
    AlarmSection,
    Bundle,
    GeometrySection,
    GridSection,
    LocalizationSection,
    Manifest,
    MethodSection,
    PreprocessingSection,
    TextEmbeddings,
    check_replaceable,
    seal_bundle,
    staged_folder,
)
from stprompt_edge.errors import UsageError, nearest
from stprompt_edge.export.gate import Gate
from stprompt_edge.export.graphs import export_encoder, export_heads
from stprompt_edge.export.half import to_half
from stprompt_edge.export.parity import check_against_torch, check_heads_against_torch, read_parity_frames
from stprompt_edge.geometry import Geometry
from stprompt_edge.model.checkpoint import Checkpoint, load_checkpoint
from stprompt_edge.model.clip import Clip, embed_texts, load_clip
from stprompt_edge.model.encoder import PackedEncoder
from stprompt_edge.model.net import Net
from stprompt_edge.overwriting import given_file
from stprompt_edge.progress import StepProgress
from stprompt_edge.runtime.source_files import source_files
from stprompt_edge.vocabulary import Vocabulary, load_vocabulary, vocabulary_to_dict

PRECISIONS = ("fp32", "fp16", "cpu8")
DEFAULT_CLIP = ("ViT-B-16-quickgelu", "openai", 0)  # model, weights and seed
PARITY_FRAMES = 8


@dataclass(frozen=True, kw_only=True)
class ExportSettings:
    """What to write, and what to check it with.

    Raises:
        UsageError: for an unknown precision or none.
    """

    precisions: tuple[str, ...] = PRECISIONS
    parity_video: Path
    force: bool = False

    def __post_init__(self) -> None:
        for precision in self.precisions:
            if precision not in PRECISIONS:
                raise UsageError(f"unknown precision '{precision}'", remedy=nearest(precision, PRECISIONS))
        if not self.precisions:
            raise UsageError("no precision given", remedy=f"pass --precision {','.join(PRECISIONS)}")


@dataclass(frozen=True, kw_only=True)
class Model:
    """All that a bundle is made of.

    Args:
        clip: frozen encoder.
        vocabulary: class names and phrases.
        method: how embeddings become a score.
        trained: weights of the method; None for zero-shot.
        training: data and metrics, as the checkpoint tells.
        alarm: default thresholds.
        localization: lambda and the heat threshold; its temperature is replaced by CLIP's own.
    """

    clip: Clip
    vocabulary: Vocabulary
    method: MethodSection
    trained: Net | None = None
    training: dict[str, object] | None = None
    alarm: AlarmSection = field(default_factory=AlarmSection)
    localization: LocalizationSection = field(default_factory=LocalizationSection)

    @classmethod
    def zero_shot(cls, clip: Clip, vocabulary: Vocabulary, stride: int) -> Model:
        """No trained weights at all."""
        return cls(clip=clip, vocabulary=vocabulary, method=MethodSection(name="zero-shot", stride=stride))

    @classmethod
    def from_checkpoint(cls, clip: Clip, checkpoint: Checkpoint) -> Model:
        """Trained weights on the encoder that they were trained on."""
        return cls(
            clip=clip,
            vocabulary=checkpoint.vocabulary,
            method=checkpoint.method,
            trained=checkpoint.build(clip),
            training=checkpoint.training,
        )


def export_bundle(
    model: Model, out: Path, settings: ExportSettings, progress: StepProgress = lambda what, done: None
) -> Bundle:
    """Write a bundle whole or not at all, after the parity gate.

    Args:
        model: what to export.
        out: the folder to make; an older bundle there is replaced.
        settings: precisions and parity footage.
        progress: told what is being done.

    Raises:
        CheckFailed: a graph does not agree with torch or with fp32.
        UsageError: `out` is something else than a bundle or holds an input, or the encoder cannot be packed.
        SourceError: the parity video cannot be read.
        EnvironmentFailure: disk full.
    """
    check_replaceable(out, [("parity video", file) for file in source_files(str(settings.parity_video))])
    frames = read_parity_frames(settings.parity_video, PARITY_FRAMES)
    geometry = Geometry()  # an encoder of other sizes is refused on the next line
    encoder = PackedEncoder(model.clip.model.visual, geometry).eval()
    with staged_folder(out) as folder:
        progress("embedding the text prompts", 0.02)
        text = embed_vocabulary(model)
        (folder / TEXT_NAME).write_bytes(save(text.as_dict()))
        if model.trained is not None:
            heads = model.trained.heads_with(torch.from_numpy(text.label_prompts))
            sizes = {"D": text.label_prompts.shape[1], "F": geometry.fine_count}
            onnx.save(export_heads(heads, METHOD_TRAITS[model.method.name].heads, sizes), folder / HEADS_NAME)
        fp32 = _write_encoders(encoder, settings.precisions, folder, progress)
        bundle = seal_bundle(folder, describe(model, geometry))
        progress("comparing fp32 with torch", 0.5)
        check_against_torch(bundle, encoder, frames)
        if model.trained is not None:
            check_heads_against_torch(bundle, model.trained, frames)
        gate = Gate(frames=frames, source=settings.parity_video.name, force=settings.force, progress=progress)
        bundle = gate.run(bundle, settings.precisions, fp32)
        if "fp32" not in settings.precisions:
            (folder / ENCODER_NAMES["fp32"]).unlink()
        bundle = seal_bundle(folder, bundle.manifest, bundle)
        progress("moving the bundle into place", 0.98)
    return replace(bundle, path=out)


def embed_vocabulary(model: Model) -> TextEmbeddings:
    """Label prompts (learned, or the class names as they are) and phrases through CLIP's text encoder."""
    vocabulary = model.vocabulary
    label_prompts = model.trained.label_prompts() if model.trained else None
    if label_prompts is None:
        label_prompts = embed_texts(model.clip, vocabulary.class_names)
    return TextEmbeddings(
        label_prompts=label_prompts.numpy(),
        normal_phrases=embed_texts(model.clip, vocabulary.normal_phrases).numpy(),
        abnormal_phrases=embed_texts(model.clip, vocabulary.abnormal_phrases).numpy(),
    )


def describe(model: Model, geometry: Geometry) -> Manifest:
    """The manifest but for parity figures and files."""
    spec = model.clip.preprocessing
    return Manifest(
        schema_version=1,
        created_by=f"stprompt-edge {__version__}",
        clip=model.clip.section,
        preprocessing=PreprocessingSection(size=spec.size, mean_rgb=spec.mean_rgb, std_rgb=spec.std_rgb),
        geometry=GeometrySection(
            image_size=geometry.image_size,
            patch_size=geometry.patch_size,
            fine=GridSection(size=geometry.fine.size, stride=geometry.fine.stride),
            coarse=GridSection(size=geometry.coarse.size, stride=geometry.coarse.stride),
        ),
        method=model.method,
        localization=model.localization.model_copy(update={"tau": model.clip.tau}),
        alarm=model.alarm,
        vocabulary=vocabulary_to_dict(model.vocabulary),
        training=dict(model.training) if model.training else None,
    )


def _write_encoders(
    encoder: PackedEncoder, precisions: Sequence[str], folder: Path, progress: StepProgress
) -> onnx.ModelProto:
    """fp32 always, since the others are made of it and compared with it; cpu8 is left to the gate."""
    progress("tracing the encoder", 0.05)
    fp32 = export_encoder(encoder)
    onnx.save(fp32, folder / ENCODER_NAMES["fp32"])
    if "fp16" in precisions:
        progress("writing fp16", 0.35)
        onnx.save(to_half(fp32), folder / ENCODER_NAMES["fp16"])
    return fp32


def export_from_names(
    checkpoint: Path | None,
    out: Path,
    clip: str | None,
    pretrained: str | None,
    vocabulary: str,
    *,
    stride: int,
    seed: int | None,
    settings: ExportSettings,
    progress: StepProgress = lambda what, done: None,
) -> Bundle:
    """`export_bundle` from what a user types: a checkpoint or a vocabulary, and the names of CLIP and its weights.

    Args:
        clip, pretrained, seed: None for those that the checkpoint was trained with; without one for OpenAI's ViT-B/16.

    Raises:
        As `export_bundle`, `load_clip`, `load_checkpoint` and `load_vocabulary`; all of these before CLIP is loaded.
    """
    files = ("weights", given_file(pretrained)), ("vocabulary", given_file(vocabulary))
    check_replaceable(out, [("checkpoint", checkpoint), *files])
    trained = load_checkpoint(checkpoint) if checkpoint else None
    words = trained.vocabulary if trained else load_vocabulary(vocabulary)
    progress("loading CLIP", 0.0)
    own = trained.clip if trained else None
    model_name, weights, own_seed = (own.model, own.pretrained, own.seed) if own else DEFAULT_CLIP
    loaded = load_clip(clip or model_name, pretrained or weights, own_seed if seed is None else seed)
    model = Model.from_checkpoint(loaded, trained) if trained else Model.zero_shot(loaded, words, stride)
    return export_bundle(model, out, settings, progress)
