"""Training STPrompt on features in memory: seeded, resumable, the same weights whether interrupted or not."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from stprompt_edge.bundle import ClipSection, MethodSection
from stprompt_edge.errors import CheckFailed, UsageError
from stprompt_edge.files import write_bytes_atomic
from stprompt_edge.model.checkpoint import Checkpoint, save_checkpoint
from stprompt_edge.model.clip import Clip
from stprompt_edge.model.stprompt import STPrompt
from stprompt_edge.training.batches import Batch, FeatureVideo, epoch_batches, make_batch
from stprompt_edge.training.losses import alignment_loss, classification_loss, contrastive_loss, total_loss
from stprompt_edge.training.recipe import Recipe
from stprompt_edge.vocabulary import Vocabulary

VALIDATION_SHARE = 0.1  # of each class's training videos
BEST_NAME, LAST_NAME, STATE_NAME = "best.safetensors", "last.safetensors", "state.safetensors"


@dataclass(frozen=True, kw_only=True)
class Losses:
    """Means over the videos of an epoch."""

    classification: float
    alignment: float
    contrastive: float
    total: float


@dataclass(frozen=True, kw_only=True)
class EpochFigures:
    """One row of the training table."""

    epoch: int
    train: Losses
    validation: Losses | None  # None when there are too few videos to hold any out


@dataclass(frozen=True, kw_only=True)
class Task:
    """Everything that decides the trained weights, besides the features."""

    clip: Clip
    vocabulary: Vocabulary
    recipe: Recipe
    seed: int = 0
    seconds_between_samples: float | None = None


class Fit:
    """A training under way.

    Args:
        task: model, recipe and seed.
        videos: training videos of both kinds.

    Raises:
        UsageError: if normal or abnormal videos are missing, or widths do not fit the encoder.
    """

    def __init__(self, task: Task, videos: Sequence[FeatureVideo]) -> None:
        _check(task, videos)
        self.task = task
        self.train, self.validation = split_validation(videos, task.seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(task.seed)
            self.model = STPrompt(task.clip, task.vocabulary.class_names, task.recipe.sigma)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=task.recipe.learning_rate)
        self.figures: list[EpochFigures] = []
        self._best = float("inf")

    def run(
        self,
        out: Path,
        *,
        stop: threading.Event | None = None,
        on_epoch: Callable[[EpochFigures], None] = lambda figures: None,
    ) -> Path:
        """Train to the recipe's last epoch, resuming what `out` holds.

        Args:
            out: folder of best.safetensors, last.safetensors and state.safetensors.
            stop: set it to end after the current batch; the last finished epoch is kept and a later run resumes there.
            on_epoch: told the figures of each epoch.

        Returns:
            The best checkpoint.

        Raises:
            CheckFailed: if `out` holds the state of another training.
            EnvironmentFailure: disk full.
        """
        out.mkdir(parents=True, exist_ok=True)
        self.resume(out)
        while len(self.figures) < self.task.recipe.epochs:
            figures = self.epoch(len(self.figures), stop)
            if figures is None:
                break
            self.figures.append(figures)
            self.save(out, figures)
            on_epoch(figures)
        return out / BEST_NAME

    def epoch(self, epoch: int, stop: threading.Event | None = None) -> EpochFigures | None:
        """One pass over the training videos; None if `stop` was set before its end."""
        recipe = self.task.recipe
        losses = []
        self.model.train()
        for batch in epoch_batches(self.train, recipe.batch, recipe.max_length, self.task.seed, epoch):
            if stop is not None and stop.is_set():
                return None
            parts = self._losses(batch)
            self.optimizer.zero_grad()
            parts[-1].backward()
            self.optimizer.step()
            losses.append([float(part.detach()) for part in parts])
        return EpochFigures(epoch=epoch, train=_mean_losses(losses), validation=self.validate())

    @torch.inference_mode()
    def validate(self) -> Losses | None:
        """The losses on the videos held out."""
        if not self.validation:
            return None
        self.model.eval()
        return _mean_losses(
            [[float(p) for p in self._losses(make_batch(self.validation, self.task.recipe.max_length))]]
        )

    def _losses(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Eq. 6-10 on one batch: classification, alignment, contrastive, total."""
        recipe = self.task.recipe
        label_prompts = self.model.prompts()
        logits = self.model.with_prompts(batch.x_clip, batch.x_as, label_prompts, batch.lengths)
        classification = classification_loss(logits.anomaly_logit, batch.lengths, (batch.labels > 0).float())
        alignment = alignment_loss(logits.similarity, batch.lengths, batch.labels, recipe.tau)
        contrastive = contrastive_loss(label_prompts)
        return (
            classification,
            alignment,
            contrastive,
            total_loss(classification, alignment, contrastive, recipe.alpha, recipe.beta),
        )

    def checkpoint(self) -> Checkpoint:
        """The weights as they are now, described."""
        task, recipe = self.task, self.task.recipe
        return Checkpoint(
            clip=ClipSection(
                model=task.clip.name, pretrained=task.clip.pretrained, seed=task.clip.seed,
                embedding_width=task.clip.model.visual.proj.shape[1],
            ),
            method=MethodSection(
                name="stprompt", windows=recipe.windows, sigma=recipe.sigma, tau=recipe.tau, stride=recipe.stride,
                seconds_between_samples=task.seconds_between_samples,
            ),
            vocabulary=task.vocabulary,
            training={
                "videos": len(self.train), "epochs": len(self.figures), "seed": task.seed,
                "loss": round(self.figures[-1].train.total, 4) if self.figures else None,
            },
            weights={name: tensor.detach().clone() for name, tensor in self.model.state_dict().items()},
        )  # fmt: skip

    def save(self, out: Path, figures: EpochFigures) -> None:
        """Last and, if it is, best checkpoint, then the state that resuming needs; each whole or not at all."""
        judged = figures.validation or figures.train
        save_checkpoint(out / LAST_NAME, self.checkpoint())
        if judged.total < self._best:
            self._best = judged.total
            save_checkpoint(out / BEST_NAME, self.checkpoint())
        state = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        for index, slots in self.optimizer.state_dict()["state"].items():
            state |= {f"optimizer.{index}.{name}": torch.as_tensor(tensor) for name, tensor in slots.items()}
        description = {
            "task": self._fingerprint(),
            "figures": [asdict(row) for row in self.figures],
            "best": self._best,
        }
        content = {name: tensor.contiguous() for name, tensor in state.items()}
        write_bytes_atomic(out / STATE_NAME, save(content, metadata={"state": json.dumps(description)}))

    def resume(self, out: Path) -> None:
        """Take up the state that `out` holds, if any."""
        path = out / STATE_NAME
        if not path.exists():
            return
        try:
            with safe_open(path, framework="pt") as file:
                description = json.loads(file.metadata()["state"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a dict
        except (SafetensorError, KeyError, TypeError, json.JSONDecodeError) as exc:
            raise CheckFailed(f"{path} is damaged ({exc})", remedy="remove it to train from the start") from exc
        if description["task"] != self._fingerprint():
            raise CheckFailed(
                f"{out} holds the state of another training (recipe, seed, encoder, classes or videos differ)",
                remedy="choose another --out, or remove that folder",
            )
        self.figures = [_row(row) for row in description["figures"]]
        self._best = description["best"]
        self._load(tensors)

    def _load(self, tensors: dict[str, Tensor]) -> None:
        prefix = "model."
        self.model.load_state_dict({n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)})
        slots: dict[int, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            if name.startswith("optimizer."):
                _, index, slot = name.split(".", 2)
                slots.setdefault(int(index), {})[slot] = tensor
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": slots, "param_groups": groups})

    def _fingerprint(self) -> dict[str, Any]:
        task = self.task
        return {
            "recipe": task.recipe.model_dump(exclude={"epochs"}),
            "seed": task.seed,
            "clip": [task.clip.name, task.clip.pretrained, task.clip.seed],
            "classes": list(task.vocabulary.class_names),
            "videos": sorted([video.name, video.label, len(video.x_clip)] for video in self.train),
        }


def split_validation(videos: Sequence[FeatureVideo], seed: int) -> tuple[list[FeatureVideo], list[FeatureVideo]]:
    """Hold out a tenth of each class, rounded down, chosen by seed: training and validation videos."""
    rng = np.random.default_rng(seed)
    train, validation = [], []
    for label in sorted({video.label for video in videos}):
        of_class = [video for video in videos if video.label == label]
        order = [of_class[i] for i in rng.permutation(len(of_class))]
        held_out = int(len(order) * VALIDATION_SHARE)
        validation += order[:held_out]
        train += order[held_out:]
    return train, validation


def _check(task: Task, videos: Sequence[FeatureVideo]) -> None:
    width = task.clip.model.visual.proj.shape[1]
    for video in videos:
        if video.x_clip.shape[1] != width:
            raise UsageError(
                f"features of {video.name} have width {video.x_clip.shape[1]}, {task.clip.name} gives {width}",
                remedy="extract the features with this encoder, or pass the one that made them",
            )
    for name, abnormal in (("normal", False), ("abnormal", True)):
        if not any((video.label > 0) == abnormal for video in videos):
            raise UsageError(f"no {name} video to train on", remedy="training needs both; check labels and split")


def _mean_losses(rows: list[list[float]]) -> Losses:
    classification, alignment, contrastive, total = (float(np.mean(column)) for column in zip(*rows, strict=True))
    return Losses(classification=classification, alignment=alignment, contrastive=contrastive, total=total)


def _row(row: dict[str, Any]) -> EpochFigures:
    validation = Losses(**row["validation"]) if row["validation"] else None
    return EpochFigures(epoch=row["epoch"], train=Losses(**row["train"]), validation=validation)
