"""Contrastive training of a small CLIP on captioned frames and windows.

Each picture (a frame, or a window inside it, through the packed encoder that exports use) is compared with every
caption. Loss, in both directions as CLIP's (Radford et al. 2021), with several right captions for a picture as in
supervised contrastive learning (Khosla et al. 2020): the mean over right pairs of -log(e^s / (e^s + sum of wrong e^s)).
Tokens of the frame's patches, before the last block, are compared too (Jiang et al. 2021, token labeling): a frame's
class token has little to learn from beside what they know.

Suffixes: B frames, K and L windows of each, P patches, N pictures, C captions, D width of the embedding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save
from torch import Tensor
from torch.nn import functional as F

from demo.encoder.captions import CAPTIONS, UNKNOWN
from demo.encoder.muon import Muon
from demo.encoder.samples import Samples
from demo.scenes.scene import ANOMALIES, NORMAL, SITES
from stprompt_edge.files import write_bytes_atomic
from stprompt_edge.geometry import Geometry
from stprompt_edge.model.clip import Clip, load_clip
from stprompt_edge.model.encoder import Embeddings, Groups, PackedEncoder, gather_windows
from stprompt_edge.model.prompts import CONTEXT_LENGTH, CONTEXT_STD, encode_token_embeddings
from stprompt_edge.preprocess import Preprocessor

MODEL, TEXT_WIDTH = "stprompt-demo-16", 128
LARGEST_LOGIT_SCALE = math.log(100)  # as CLIP
EMBEDDING_LENGTH = 0.44  # of the square root of the width, as ViT-B/16's: about 10 of 512
FRAMES_MEASURED = 256
PATCHES_COMPARED = 24  # of a frame
PLACE_CONCEPTS = tuple(CAPTIONS.concept(site) for site in SITES)  # of windows that show nothing else


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A stretch of the training with a learning rate that rises and falls.

    Args:
        steps: batches; the learning rate rises over `warmup` of them and falls to zero along a cosine.
        fine, coarse: windows of each frame in a batch.
        patches: of a frame's patches are kept in a batch (Li et al. 2023, FLIP); all in the last `whole_steps`.
        seed: of the batches.
        as_used: also train what the heads will do with the encoder: average a frame's fine windows (eq. 3), and put
            vectors that are no words before a class name (the learned prefix).
    """

    steps: int
    learning_rate: float
    warmup: int = 100
    fine: int = 6
    coarse: int = 2
    patches: float = 0.4
    whole_steps: int = 0
    seed: int = 0
    as_used: bool = False


@dataclass(frozen=True, kw_only=True)
class EncoderSettings:
    """How to train: `frames` per batch, through the phases in order."""

    frames: int = 16
    weight_decay: float = 0.05
    seed: int = 0
    phases: tuple[Phase, ...] = (
        Phase(steps=2700, learning_rate=2e-3, whole_steps=150),
        Phase(steps=300, learning_rate=5e-4, warmup=20, fine=12, patches=1.0, as_used=True),
        Phase(steps=4000, learning_rate=1.5e-3, fine=4, coarse=1, patches=0.5, seed=1),
        Phase(steps=400, learning_rate=5e-4, warmup=20, fine=8, coarse=1, patches=1.0, seed=2, as_used=True),
    )


@dataclass(frozen=True, kw_only=True)
class CaptionedBatch:
    """Pictures and the rows of their concepts."""

    image: Tensor  # [B, 3, H, W]
    fine: Tensor  # [B, K] int64
    coarse: Tensor  # [B, L] int64
    kept: Tensor  # [B, 1+P] int64, the frame's own tokens that its embedding is made of: class token and some patches
    patches: Tensor  # [B, P'] int64, which of the kept tokens are compared with captions
    prefix: Tensor | None  # [P, W] vectors to put before the captions
    averaged: Tensor | None  # [B] bool, frames whose fine windows show together what the frame does
    captions: Tensor  # [C'] int64, those of CAPTIONS that this batch compares with
    concepts: tuple[Tensor, ...]  # of frames [B], fine windows [B*K], coarse windows [B*L], patches [B*P']

    def to(self, device: torch.device) -> CaptionedBatch:
        """The same batch on a device."""
        moved = {name: value.to(device) for name, value in vars(self).items() if isinstance(value, Tensor)}
        return replace(self, concepts=tuple(rows.to(device) for rows in self.concepts), **moved)


@dataclass(frozen=True, kw_only=True)
class Progress:
    """One line of the training."""

    step: int
    losses: tuple[float, ...]  # frames, fine and coarse windows, patches, averaged windows
    accuracies: tuple[float, ...]  # the best caption is a right one


def train_encoder(
    samples: Samples,
    settings: EncoderSettings,
    work: Path,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    *,
    device: str | None = None,
) -> Clip:
    """A CLIP trained from seeded random weights; on a CPU, the same samples and settings give the same weights.

    Each phase leaves its weights in `work`, as encoder-phase-N.safetensors, and is skipped when they are there.

    Args:
        samples: frames and what they show.
        settings: how to train.
        work: an existing folder.
        on_progress: told each step.
        device: torch's name of it; None for `cuda` where there is one, else `cpu`.

    Returns:
        The model, on the CPU.
    """
    clip = load_clip(MODEL, "none", settings.seed)
    clip.model.to(device or default_device()).train().requires_grad_(True)
    clip.model.token_embedding.requires_grad_(False)  # random vectors tell words apart; two thirds of all weights
    for number, phase in enumerate(settings.phases, 1):
        weights = work / f"encoder-phase-{number}.safetensors"
        if weights.exists():
            clip.model.load_state_dict(load_file(weights))
        else:
            run_phase(clip, samples, settings, phase, on_progress)
            write_bytes_atomic(weights, weights_file(clip))
    with torch.no_grad():
        clip.model.logit_scale.clamp_(max=LARGEST_LOGIT_SCALE)
    clip.model.cpu().eval().requires_grad_(False)
    set_embedding_length(clip, samples)
    return clip


def default_device() -> str:
    """`cuda` where PyTorch has one, else `cpu`."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def weights_file(clip: Clip) -> bytes:
    """All weights of a CLIP, wherever they are, as a safetensors file that open_clip loads."""
    return save({name: tensor.cpu().contiguous() for name, tensor in clip.model.state_dict().items()})


@torch.inference_mode()
def set_embedding_length(clip: Clip, samples: Samples) -> None:
    """Scale the projection of a trained CLIP, in place, so that frames have embeddings as long as ViT-B/16's.

    Training compares directions only and leaves lengths to chance. Eq. 5 adds x_clip to a vector that a layer norm has
    made: three times as long, x_clip alone decides, and what the adapter adds is lost.
    """
    preprocess, visual = Preprocessor(clip.preprocessing), clip.model.visual
    lengths = [
        float(visual(torch.from_numpy(preprocess(samples.image_bgr(index)).image)[None]).norm())
        for index in np.linspace(0, len(samples) - 1, min(FRAMES_MEASURED, len(samples))).astype(int).tolist()
    ]
    visual.proj.mul_(EMBEDDING_LENGTH * math.sqrt(visual.proj.shape[1]) / float(np.mean(lengths)))


def run_phase(
    clip: Clip, samples: Samples, settings: EncoderSettings, phase: Phase, on_progress: Callable[[Progress], None]
) -> None:
    """Train a CLIP, in place and on the device where it is, for the steps of a phase."""
    device, geometry = clip.model.logit_scale.device, Geometry()
    encoder = PackedEncoder(clip.model.visual, geometry).to(device)  # its tables of windows too
    tokens = clip.tokenize(list(CAPTIONS.texts)).to(device)
    right, wrong = (torch.from_numpy(pairs).to(device) for pairs in (CAPTIONS.right, CAPTIONS.wrong))
    optimizers = _optimizers(clip.model, settings.weight_decay)
    batches = captioned_batches(samples, settings, phase, Preprocessor(clip.preprocessing), geometry)
    for step, batch in enumerate(batch.to(device) for batch in prefetched(batches)):
        for group in (group for optimizer in optimizers for group in optimizer.param_groups):
            group["lr"] = phase.learning_rate * schedule(step, phase)
        captions = embed_captions(clip.model, tokens[batch.captions], batch.prefix)
        scale = clip.model.logit_scale.clamp(max=LARGEST_LOGIT_SCALE).exp()
        parts = [
            _compare(pictures, captions, scale, right[rows][:, batch.captions], wrong[rows][:, batch.captions])
            for pictures, rows in captioned_pictures(*embed_pictures(encoder, batch), batch)
        ]
        loss = torch.stack([part[0] for part in parts]).mean()
        clip.model.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(clip.model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
        losses, accuracies = (tuple(float(part[n].detach()) for part in parts) for n in (0, 1))
        on_progress(Progress(step=step, losses=losses, accuracies=accuracies))


def captioned_pictures(
    embeddings: Embeddings, patches_BPD: Tensor, batch: CaptionedBatch
) -> list[tuple[Tensor, Tensor]]:
    """Embeddings [N, D] of each kind of picture with the rows of their concepts: frames, fine and coarse windows,
    patches and, where `batch.averaged` says of which frames, the mean of a frame's fine windows."""
    pictures = [picture.flatten(0, -2) for picture in (*embeddings, patches_BPD)]
    found = list(zip(pictures, batch.concepts, strict=True))
    if batch.averaged is not None and batch.averaged.any():
        found.append((embeddings.fine.mean(dim=1)[batch.averaged], batch.concepts[0][batch.averaged]))
    return found


def embed_pictures(encoder: PackedEncoder, batch: CaptionedBatch) -> tuple[Embeddings, Tensor]:
    """The packed encoder with some of the frame's own patches left out; windows keep all of theirs.

    Returns:
        embeddings, and those of `batch.patches` [B, P', D]: tokens before the last block, projected as classes are.
    """
    tokens_BTW = encoder.embed_tokens(batch.image)
    x = torch.cat(
        [
            tokens_BTW.gather(1, batch.kept[:, :, None].expand(-1, -1, tokens_BTW.shape[2])),
            gather_windows(tokens_BTW, encoder.fine_tokens, batch.fine),
            gather_windows(tokens_BTW, encoder.coarse_tokens, batch.coarse),
        ],
        dim=1,
    )
    counts = batch.fine.shape[1], batch.coarse.shape[1]
    groups = Groups(
        batch.kept.shape[1], counts[0], encoder.fine_tokens.shape[1] + 1, counts[1], encoder.coarse_tokens.shape[1] + 1
    )
    x = encoder.run_first_blocks(x, groups)
    tokens = x.gather(1, batch.patches[:, :, None].expand(-1, -1, x.shape[2]))
    return encoder.read_classes(x, groups), encoder.visual.ln_post(tokens) @ encoder.visual.proj


def schedule(step: int, phase: Phase) -> float:
    """Part of the full learning rate at a step: linear rise, then a cosine down to zero."""
    if step < phase.warmup:
        return (step + 1) / phase.warmup
    done = (step - phase.warmup) / max(phase.steps - phase.warmup, 1)
    return 0.5 * (1 + math.cos(math.pi * done))


def embed_captions(model: Any, tokens_CN: Tensor, prefix_PW: Tensor | None = None) -> Tensor:
    """Unit-length embeddings [C, D], with vectors between the start of each text and its first word if given."""
    words, ends = model.token_embedding(tokens_CN), tokens_CN.argmax(dim=-1)
    if prefix_PW is not None:
        texts = [words[:, :1], prefix_PW.expand(len(words), -1, -1), words[:, 1 : -len(prefix_PW)]]
        words, ends = torch.cat(texts, dim=1), ends + len(prefix_PW)
    return F.normalize(encode_token_embeddings(model, words, ends), dim=-1)


def contrastive_pairs_loss(logits_NC: Tensor, right_NC: Tensor, wrong_NC: Tensor) -> Tensor:
    """Mean over rows of the mean over their right pairs of -log(e^s / (e^s + sum of wrong e^s)).

    Rows without a right pair do not count; 0 when there is none at all.
    """
    wrong = logits_NC.masked_fill(~wrong_NC, -torch.inf).logsumexp(dim=-1, keepdim=True)  # [N, 1]
    losses = F.softplus(wrong - logits_NC).masked_fill(~right_NC, 0.0)
    counts = right_NC.sum(dim=-1)
    rows = losses.sum(dim=-1) / counts.clamp(min=1)
    return rows.sum() / (counts > 0).sum().clamp(min=1)


def _compare(pictures: Tensor, captions: Tensor, scale: Tensor, right: Tensor, wrong: Tensor) -> tuple[Tensor, Tensor]:
    """Loss in both directions, and the share of pictures whose best caption is a right one."""
    logits = scale * F.normalize(pictures, dim=-1) @ captions.T  # [N, C]
    loss = (contrastive_pairs_loss(logits, right, wrong) + contrastive_pairs_loss(logits.T, right.T, wrong.T)) / 2
    considered = logits.detach().masked_fill(~(right | wrong), -torch.inf).argmax(dim=-1)
    return loss, right.gather(1, considered[:, None]).float().mean()


def captioned_batches(
    samples: Samples, settings: EncoderSettings, phase: Phase, preprocess: Preprocessor, geometry: Geometry
) -> Iterator[CaptionedBatch]:
    """Seeded batches: frames in shuffled rounds, mirrored and recoloured at random, with chosen windows."""
    rng = np.random.default_rng(phase.seed)
    rounds = -(-phase.steps * settings.frames // len(samples))
    order = np.concatenate([rng.permutation(len(samples)) for _ in range(rounds)])
    for step in range(phase.steps):
        chosen = order[step * settings.frames : (step + 1) * settings.frames]
        share = 1.0 if step >= phase.steps - phase.whole_steps else phase.patches
        images, found, rows = [], ([], [], [], []), ([], [], [], [])  # type: ignore[var-annotated]
        for index in chosen.tolist():
            mirrored = bool(rng.random() < 0.5)
            picture = recoloured(samples.image_bgr(index), rng)
            images.append(preprocess(picture[:, ::-1] if mirrored else picture).image)
            rows[0].append(samples.frame_concepts[index])
            fine, coarse, patches = (
                mirror(concepts[index]) if mirrored else concepts[index]
                for concepts in (samples.fine_concepts, samples.coarse_concepts, samples.patch_concepts)
            )
            kept = keep_patches(patches, share, rng)
            for kind, (concepts, picked) in enumerate((
                (fine, choose_windows(fine, phase.fine, rng)),
                (coarse, choose_windows(coarse, phase.coarse, rng)),
                (patches[kept], choose_windows(patches[kept], PATCHES_COMPARED, rng)),
            ), 1):  # fmt: skip
                found[kind].append(picked)
                rows[kind].extend(concepts[picked])
            found[0].append(kept + 1)
        captions = np.array([rng.choice(group) for group in CAPTIONS.groups])
        concepts = tuple(torch.tensor(np.array(row), dtype=torch.int64) for row in rows)
        tokens, *windows = (torch.from_numpy(np.stack(indices)) for indices in found)
        yield CaptionedBatch(
            image=torch.from_numpy(np.stack(images)),
            fine=windows[0],
            coarse=windows[1],
            kept=F.pad(tokens, (1, 0)),  # 0 is the class token
            patches=windows[2] + 1,
            prefix=random_prefix(rng) if phase.as_used and step % 2 else None,
            averaged=show_together(concepts[0], concepts[1]) if phase.as_used else None,
            captions=torch.from_numpy(captions),
            concepts=concepts,
        )


def random_prefix(rng: np.random.Generator) -> Tensor:
    """Vectors as a prompt learner starts with: [CONTEXT_LENGTH, W]."""
    return torch.from_numpy(rng.normal(0, CONTEXT_STD, (CONTEXT_LENGTH, TEXT_WIDTH)).astype(np.float32))


def show_together(frames_B: Tensor, fine_N: Tensor) -> Tensor:
    """[B] bool: a normal frame, or an abnormal one with an abnormal window among the chosen ones."""
    normal = torch.tensor([name.startswith(NORMAL) for name in CAPTIONS.concepts])[frames_B]
    return normal | (fine_N.view(len(frames_B), -1) < len(ANOMALIES)).any(dim=1)


def keep_patches(concepts: NDArray[np.int16], share: float, rng: np.random.Generator) -> NDArray[np.int64]:
    """Indices of a share of a frame's patches, in order: first those that show more than the place, then any."""
    likely = rng.random(len(concepts)) + np.isin(concepts, PLACE_CONCEPTS)
    return np.sort(likely.argsort()[: round(share * len(concepts))])


def mirror(windows: NDArray[np.int16]) -> NDArray[np.int16]:
    """Concepts of a square grid's windows in the mirrored frame."""
    side = math.isqrt(len(windows))
    return windows.reshape(side, side)[:, ::-1].reshape(-1)


def choose_windows(concepts: NDArray[np.int16], count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Indices of windows to train on, none of unknown content: abnormal ones up to half, then those with people or
    vehicles up to three quarters, then any; some twice where there are too few."""
    abnormal = (concepts >= 0) & (concepts < len(ANOMALIES))
    place = np.isin(concepts, PLACE_CONCEPTS)
    picked = rng.permutation(np.flatnonzero(abnormal))[: -(-count // 2)]
    things = rng.permutation(np.flatnonzero((concepts >= 0) & ~abnormal & ~place))
    picked = np.concatenate([picked, things[: max(3 * count // 4 - len(picked), 0)]])
    rest = np.setdiff1d(np.flatnonzero((concepts >= 0) & ~abnormal), picked)
    picked = np.concatenate([picked, rng.permutation(rest)[: count - len(picked)]]).astype(np.int64)
    spare = picked if len(picked) else np.flatnonzero(concepts != UNKNOWN)
    return np.concatenate([picked, rng.choice(spare, count - len(picked))]) if len(picked) < count else picked


def recoloured(image_bgr: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Another brightness, contrast and saturation, as other cameras would give."""
    contrast, brightness, saturation = rng.uniform(0.75, 1.3), rng.uniform(-25, 25), rng.uniform(0.0, 1.3)
    grey = cv2.cvtColor(cv2.cvtColor(image_bgr, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    mixed = cv2.addWeighted(image_bgr, contrast * saturation, grey, contrast * (1 - saturation), brightness)
    return mixed  # type: ignore[return-value]


def prefetched(batches: Iterator[CaptionedBatch]) -> Iterator[CaptionedBatch]:
    """The same batches, each made while the one before is used."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        ahead = pool.submit(next, batches, None)
        while (batch := ahead.result()) is not None:
            ahead = pool.submit(next, batches, None)
            yield batch


def _optimizers(model: Any, weight_decay: float) -> tuple[torch.optim.Optimizer, ...]:
    """Muon for the matrices of the transformers' blocks, AdamW for everything else."""
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    blocks = [p for name, p in trained.items() if "resblocks" in name and p.ndim == 2]
    others = [p for name, p in trained.items() if not ("resblocks" in name and p.ndim == 2)]
    muon = Muon(blocks, lr=0.0, weight_decay=weight_decay)  # run_phase sets the rate of each step
    return muon, torch.optim.AdamW(others, lr=0.0, weight_decay=0.0, betas=(0.9, 0.98), eps=1e-6)
