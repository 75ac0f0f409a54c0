"""One file per trained method: its model, the tensors it wants, its losses, its part of the bundle."""

from __future__ import annotations

from stprompt_edge.training.methods.base import TOTAL, Judgement, Method, Task
from stprompt_edge.training.methods.mil_ranking import MilRankingMethod
from stprompt_edge.training.methods.stprompt import STPromptMethod

__all__ = ["METHODS", "TOTAL", "Judgement", "Method", "STPromptMethod", "Task"]

METHODS: dict[str, type[Method]] = {
    "stprompt": STPromptMethod,
    "mil-ranking": MilRankingMethod,
}
