"""One training in memory with the package's own `Fit`, the scores of its model, and figures of them.

Suffixes: T sampled frames, F camera frames, N fine windows (49), D width of the embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.featured import FeaturedVideo
from stprompt_edge.evaluation.metrics import auc, frame_ap, frame_auc, hold_scores
from stprompt_edge.model.branches import anomaly_score
from stprompt_edge.model.mil_ranking import MilRanking
from stprompt_edge.model.stprompt import STPrompt
from stprompt_edge.training.fit import Fit

Scores = NDArray[np.float64]


def trained(fit: Fit) -> Any:
    """Every epoch of the recipe -> the model of the best epoch in eval mode: what `Fit.run` leaves on disk."""
    best: dict[str, torch.Tensor] = {}
    for epoch in range(fit.task.recipe.epochs):
        figures = fit.epoch(epoch)
        assert figures is not None  # it is only when stopped
        fit.figures.append(figures)
        if figures.best:
            best = {name: tensor.detach().clone() for name, tensor in fit.model.state_dict().items()}
    fit.model.load_state_dict(best)
    return fit.model.eval().requires_grad_(False)


@torch.inference_mode()
def stprompt_scores(
    model: STPrompt, x_clip: NDArray[np.float32], x_as: NDArray[np.float32], tau: float, branch: str
) -> Scores:
    """Scores of a whole video, all frames in sight: x_clip and x_as [T, D] -> [T]."""
    logits = model(torch.from_numpy(x_clip), torch.from_numpy(x_as))
    return anomaly_score(logits.anomaly_logit, logits.similarity, tau, branch).double().numpy()


@torch.inference_mode()
def ranking_scores(model: MilRanking, windows: NDArray[np.float32]) -> tuple[Scores, NDArray[np.float32]]:
    """The same of the ranking method: windows [T, N, D] -> scores [T] and probabilities of windows [T, N]."""
    logits = model(torch.from_numpy(windows))
    return logits.anomaly_logit.sigmoid().double().numpy(), logits.window_logits.sigmoid().numpy()


def frame_figures(videos: Sequence[FeaturedVideo], scores: Sequence[Scores]) -> dict[str, float]:
    """Frame AUC and AP over all videos together, 0..1; `scores` are of sampled frames, held for the stride."""
    labels = [video.frame_labels for video in videos]
    held = [hold_scores(one, video.stride, video.frame_count) for video, one in zip(videos, scores, strict=True)]
    return {"auc": frame_auc(labels, held), "ap": frame_ap(labels, held)}


def video_figures(videos: Sequence[FeaturedVideo], scores: Sequence[Scores]) -> dict[str, float]:
    """Video AUC, 0..1: a video's score is its highest."""
    return {"video_auc": auc([not video.video.is_normal for video in videos], [one.max() for one in scores])}


def mean_and_deviation(values: Sequence[float]) -> dict[str, float]:
    """Mean and standard deviation over repeats (with n - 1)."""
    array = np.asarray(values, np.float64)
    return {
        "mean": round(float(array.mean()), 5),
        "std": round(float(array.std(ddof=1)), 5) if len(array) > 1 else 0.0,
    }


def paired(values: Sequence[float], reference: Sequence[float]) -> dict[str, float]:
    """Differences on equal seeds and splits: mean, its standard error, and in how many repeats it is above zero."""
    differences = np.asarray(values, np.float64) - np.asarray(reference, np.float64)
    figures = mean_and_deviation(differences.tolist())
    return {
        "mean": figures["mean"],
        "standard_error": round(figures["std"] / len(differences) ** 0.5, 5),
        "above": int((differences > 0).sum()),
    }


def spread_over(jobs: Sequence[Any], work: Callable[[Any], Any], processes: int) -> list[Any]:
    """`work` of every job, in order, one thread each in so many processes."""
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    if processes == 1:
        return [work(job) for job in jobs]
    with ProcessPoolExecutor(processes, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        return list(pool.map(work, jobs))
