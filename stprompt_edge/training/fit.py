"""Training on features in memory: seeded, resumable, the same weights whether interrupted or not."""

from __future__ import annotations

import hashlib
import json
import math
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from stprompt_edge.errors import CheckFailed, UsageError
from stprompt_edge.evaluation.metrics import auc
from stprompt_edge.features.index import FeatureVideo
from stprompt_edge.files import disk_errors, write_bytes_atomic
from stprompt_edge.model.checkpoint import Checkpoint, save_checkpoint
from stprompt_edge.training.batches import epoch_videos
from stprompt_edge.training.curves import EpochFigures, write_table
from stprompt_edge.training.methods import METHODS, TOTAL, Judgement, Task

VALIDATION_SHARE = 0.1  # of the normal and of the abnormal training videos
FILE_NAMES = BEST_NAME, LAST_NAME, STATE_NAME = "best.safetensors", "last.safetensors", "state.safetensors"


class Fit:
    """A training under way.

    Args:
        task: model, recipe and seed.
        videos: training videos of both kinds.

    Raises:
        UsageError: if normal or abnormal videos are missing, widths do not fit the encoder, or the method needs
            windows that the features lack.
    """

    def __init__(self, task: Task, videos: Sequence[FeatureVideo]) -> None:
        _check(task, videos)
        self.task = task
        self.train, self.validation = split_validation(videos, task.seed)
        with seeded(task.seed):
            self.method = METHODS[task.recipe.method](task, videos)
        self.model = self.method.model
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=task.recipe.learning_rate)
        self.figures: list[EpochFigures] = []

    def run(
        self,
        out: Path,
        *,
        stop: threading.Event | None = None,
        on_epoch: Callable[[Sequence[EpochFigures]], None] = lambda figures: None,
    ) -> Path:
        """Train to the recipe's last epoch, resuming what `out` holds.

        Args:
            out: folder of best.safetensors, last.safetensors, state.safetensors and curves.csv.
            stop: set it to end after the current batch; the last finished epoch is kept and a later run resumes there.
            on_epoch: told the figures of all epochs so far, each time that one has ended.

        Returns:
            The best checkpoint; it is not there if `stop` was set before the first epoch had ended.

        Raises:
            CheckFailed: as `resume`, or a loss is not finite.
            UsageError: if `out` cannot be written.
            EnvironmentFailure: disk full, or scikit-learn is missing.
        """
        with disk_errors(out):
            out.mkdir(parents=True, exist_ok=True)
        self.resume(out)
        while len(self.figures) < self.task.recipe.epochs:
            figures = self.epoch(len(self.figures), stop)
            if figures is None:
                break
            self.figures.append(figures)
            self.save(out)
            on_epoch(self.figures)
        return out / BEST_NAME

    def epoch(self, epoch: int, stop: threading.Event | None = None) -> EpochFigures | None:
        """One pass over the training videos; None if `stop` was set before its end."""
        recipe, seed = self.task.recipe, self.task.seed
        rows = []
        self.model.train()
        with seeded(seed, epoch):  # what dropout draws does not depend on the epochs before
            for videos in epoch_videos(self.train, recipe.batch, seed, epoch):
                if stop is not None and stop.is_set():
                    return None
                losses = self.method.judge(videos).losses
                self.optimizer.zero_grad()
                losses[TOTAL].backward()
                self.optimizer.step()
                rows.append(_numbers(losses))
        return self._judged(epoch, {name: float(np.mean([row[name] for row in rows])) for name in rows[0]})

    def _judged(self, epoch: int, train: dict[str, float]) -> EpochFigures:
        """The figures of an epoch that has just ended."""
        _check_finite(epoch, train)
        held_out = self.validate()
        validation, validation_auc = None, None
        if held_out is not None:
            validation = _numbers(held_out.losses)
            _check_finite(epoch, validation)
            validation_auc = auc([video.label > 0 for video in self.validation], held_out.scores_B)
        judged = (validation or train)[TOTAL]
        return EpochFigures(
            epoch=epoch,
            train=train,
            validation=validation,
            validation_auc=validation_auc,
            best=all(judged < (row.validation or row.train)[TOTAL] for row in self.figures),
        )

    @torch.inference_mode()
    def validate(self) -> Judgement | None:
        """The losses and scores of the videos held out."""
        if not self.validation:
            return None
        self.model.eval()
        return self.method.judge(self.validation)

    def checkpoint(self) -> Checkpoint:
        """The weights as they are now, described."""
        task = self.task
        return Checkpoint(
            clip=task.clip.section,
            method=self.method.section(),
            vocabulary=task.vocabulary,
            training={
                "videos": len(self.train), "epochs": len(self.figures), "seed": task.seed,
                "loss": round(self.figures[-1].train[TOTAL], 4) if self.figures else None,
            },
            weights={name: tensor.detach().clone() for name, tensor in self.model.state_dict().items()},
        )  # fmt: skip

    def save(self, out: Path) -> None:
        """Last and, if it is, best checkpoint, the table, then the state to resume from; each whole or not at all."""
        save_checkpoint(out / LAST_NAME, self.checkpoint())
        if self.figures[-1].best:
            save_checkpoint(out / BEST_NAME, self.checkpoint())
        write_table(out, self.figures)
        state = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        for index, slots in self.optimizer.state_dict()["state"].items():
            state |= {f"optimizer.{index}.{name}": torch.as_tensor(tensor) for name, tensor in slots.items()}
        description = {"task": self._fingerprint(), "figures": [asdict(row) for row in self.figures]}
        content = {name: tensor.contiguous() for name, tensor in state.items()}
        write_bytes_atomic(out / STATE_NAME, save(content, metadata={"state": json.dumps(description)}))

    def resume(self, out: Path) -> None:
        """Take up the state that `out` holds, if any.

        Raises:
            CheckFailed: it is damaged, or of another training, or its best checkpoint is gone.
        """
        path = out / STATE_NAME
        if not path.exists():
            return
        try:
            with safe_open(path, framework="np") as file:  # "pt" takes paths alone that are UTF-8
                description = json.loads(file.metadata()["state"])
                tensors = {name: torch.from_numpy(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118
            if description["task"] != self._fingerprint():
                raise CheckFailed(
                    f"{out} holds the state of another training (recipe, seed, encoder, classes or features differ)",
                    remedy="choose another --out, or remove that folder",
                )
            self.figures = [EpochFigures(**row) for row in description["figures"]]
            self._load(tensors)
        except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as exc:  # torch's are the last
            what = str(exc).strip().partition("\n")[0]
            raise CheckFailed(
                f"{path} is damaged ({type(exc).__name__}: {what})", remedy="remove it to train from the start"
            ) from exc
        if self.figures and not (out / BEST_NAME).is_file():
            raise CheckFailed(
                f"{out} holds the state of a training without its {BEST_NAME}",
                remedy=f"put it back, or remove {path} to train from the start",
            )

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
            "clip": [task.clip.name, task.clip.weights_sha256],
            "classes": list(task.vocabulary.class_names),
            "motion_timing": task.motion_timing,
            "features": self._features_sha256,
        }

    @cached_property
    def _features_sha256(self) -> str:
        """Of all videos in their order: names, labels and values. A second for two gigabytes."""
        digest = hashlib.sha256()
        for video in (*self.train, *self.validation):
            digest.update(json.dumps([video.name, video.label, video.x_clip.shape]).encode())
            for array in (video.x_clip, video.x_as, video.segments):
                if array is not None:
                    digest.update(array.tobytes())
        return digest.hexdigest()


def split_validation(videos: Sequence[FeatureVideo], seed: int) -> tuple[list[FeatureVideo], list[FeatureVideo]]:
    """Hold out a tenth of the normal and of the abnormal videos, rounded down, chosen by seed.

    The only video of a class stays in training. None are held out unless there are some of both kinds: one kind alone
    cannot tell a good model from one that says the same of everything.

    Returns:
        Training and validation videos.
    """
    rng = np.random.default_rng(seed)
    train: list[FeatureVideo] = []
    validation: list[list[FeatureVideo]] = []
    for abnormal in (False, True):
        of_kind = [video for video in videos if (video.label > 0) == abnormal]
        left = Counter(video.label for video in of_kind)
        held_out: list[FeatureVideo] = []
        for video in (of_kind[i] for i in rng.permutation(len(of_kind))):
            if len(held_out) < int(len(of_kind) * VALIDATION_SHARE) and left[video.label] > 1:
                left[video.label] -= 1
                held_out.append(video)
            else:
                train.append(video)
        validation.append(held_out)
    if not all(validation):
        return list(videos), []
    return train, [video for held_out in validation for video in held_out]


@contextmanager
def seeded(*seed: int) -> Iterator[None]:
    """Torch's random numbers inside come from these seeds alone, and those outside do not notice."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(np.random.SeedSequence(seed).generate_state(1)[0]))
        yield


def _check(task: Task, videos: Sequence[FeatureVideo]) -> None:
    width = task.clip.section.embedding_width
    for video in videos:
        if video.x_clip.shape[1] != width:
            raise UsageError(
                f"features of {video.name} have width {video.x_clip.shape[1]}, {task.clip.name} gives {width}",
                remedy="extract the features with this encoder, or pass the one that made them",
            )
    for name, abnormal in (("normal", False), ("abnormal", True)):
        if not any((video.label > 0) == abnormal for video in videos):
            raise UsageError(f"no {name} video to train on", remedy="training needs both; check labels and split")


def _check_finite(epoch: int, losses: Mapping[str, float]) -> None:
    if not math.isfinite(losses[TOTAL]):
        raise CheckFailed(
            f"the loss of epoch {epoch + 1} is {losses[TOTAL]}",
            remedy="lower learning_rate in a recipe of your own; what earlier epochs wrote is kept",
        )


def _numbers(losses: Mapping[str, Tensor]) -> dict[str, float]:
    return {name: float(loss.detach()) for name, loss in losses.items()}
