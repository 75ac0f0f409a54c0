"""The ranking method in training: Sultani et al. on the windows of segments of each video.

Suffixes: B videos, S segments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from stprompt_edge.errors import UsageError
from stprompt_edge.features.index import FeatureVideo
from stprompt_edge.model.mil_ranking import MilRanking
from stprompt_edge.training.losses import ranking_loss, smoothness_loss, sparsity_loss, topk_mean
from stprompt_edge.training.methods.base import TOTAL, Judgement, Method, Task


class MilRankingMethod(Method):
    """A segment's score is the sigmoid of the mean logit of its top windows (`model.mil_ranking`).

    A video's score, which the hinge ranks, is the mean of its top segments by eq. 6's rule, k = S // 16 + 1, in place
    of the paper's maximum. Smoothness and sparsity are over the segments of abnormal videos, as in
    the paper. The kernel over time is not used here: what it smooths are sampled frames, and a segment is a mean of
    several. Nor is motion, and `causal` needs no later frame.
    """

    # With STPrompt's 1e-4 and the paper's batches, 40 steps change nothing here
    defaults: ClassVar[Mapping[str, Any]] = {"learning_rate": 1e-3, "batch": 16, "epochs": 60}
    motion_timing = "causal"

    def __init__(self, task: Task, videos: Sequence[FeatureVideo]) -> None:
        super().__init__(task, videos)
        missing = next((video for video in videos if video.segments is None), None)
        if missing is not None:
            raise UsageError(
                f"features of {missing.name} have no windows, which {task.recipe.method} is trained on",
                remedy="extract them into the same folder again with: stprompt-edge extract --keep windows",
            )
        assert videos[0].segments is not None
        self.windows = videos[0].segments.shape[1]
        self.model = MilRanking(task.clip.section.embedding_width, task.recipe.sigma)

    def judge(self, videos: Sequence[FeatureVideo]) -> Judgement:
        """See `Method`."""
        recipe = self.task.recipe
        scores_BS = torch.cat([self._scores(part) for part in self.parts(videos)])
        abnormal_B = torch.tensor([video.label > 0 for video in videos])
        bags_B = topk_mean(scores_BS, torch.full((len(scores_BS),), scores_BS.shape[1]))
        ranking = ranking_loss(bags_B, abnormal_B)
        smoothness = recipe.smoothness * smoothness_loss(scores_BS[abnormal_B])
        sparsity = recipe.sparsity * sparsity_loss(scores_BS[abnormal_B])
        parts = {"ranking": ranking, "smoothness": smoothness, "sparsity": sparsity}
        return Judgement(losses={**parts, TOTAL: ranking + smoothness + sparsity}, scores_B=bags_B.detach())

    def _scores(self, videos: Sequence[FeatureVideo]) -> Tensor:
        """[B, S], 0..1."""
        segments = [torch.from_numpy(video.segments) for video in videos if video.segments is not None]
        return self.model.heads(torch.stack(segments).float()).anomaly_logit.sigmoid()
