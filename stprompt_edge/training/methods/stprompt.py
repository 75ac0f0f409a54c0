"""STPrompt in training: eq. 4-10 on x_clip and x_as.

Suffixes: B videos, T sampled frames (padded).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn.utils.rnn import pad_sequence

from stprompt_edge.features.index import FeatureVideo
from stprompt_edge.model.branches import anomaly_score
from stprompt_edge.model.stprompt import Logits, STPrompt
from stprompt_edge.training.batches import make_batch
from stprompt_edge.training.losses import alignment_loss, classification_loss, contrastive_loss, topk_mean, total_loss
from stprompt_edge.training.methods.base import TOTAL, Judgement, Method, Task


class STPromptMethod(Method):
    """See `Method`."""

    model: STPrompt

    def __init__(self, task: Task, videos: Sequence[FeatureVideo]) -> None:
        super().__init__(task, videos)
        self.windows, self.motion_timing = task.recipe.windows, task.motion_timing
        self.model = STPrompt(task.clip, task.vocabulary.class_names, task.recipe.sigma)

    def judge(self, videos: Sequence[FeatureVideo]) -> Judgement:
        """See `Method`."""
        recipe = self.task.recipe
        label_prompts = self.model.prompts()
        parts, lengths, labels = [], [], []
        for part in self.parts(videos):
            batch = make_batch(part, recipe.max_length)
            parts.append(self.model.with_prompts(batch.x_clip, batch.x_as, label_prompts, batch.lengths))
            lengths.append(batch.lengths)
            labels.append(batch.labels)
        rows = ([row for part in kind for row in part] for kind in zip(*parts, strict=True))
        logits = Logits(*(pad_sequence(kind, batch_first=True) for kind in rows))  # to the longest of all parts
        lengths_B, labels_B = torch.cat(lengths), torch.cat(labels)
        classification = classification_loss(logits.anomaly_logit, lengths_B, (labels_B > 0).float())
        alignment = alignment_loss(logits.similarity, lengths_B, labels_B, recipe.tau)
        contrastive = contrastive_loss(label_prompts)
        scores_BT = anomaly_score(*logits, recipe.tau, "a")
        return Judgement(
            losses={
                "classification": classification,
                "alignment": alignment,
                "contrastive": contrastive,
                TOTAL: total_loss(classification, alignment, contrastive, recipe.alpha, recipe.beta),
            },
            scores_B=topk_mean(scores_BT.detach(), lengths_B),
        )
