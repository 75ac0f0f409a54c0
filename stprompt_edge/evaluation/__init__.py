"""`stprompt-edge evaluate`: the field's figures, and those of an alarm, through the very runtime that ships.

Bundles are evaluated without torch; only checkpoints need it.
"""

from stprompt_edge.evaluation.command import EvaluationCommand, evaluate
from stprompt_edge.evaluation.evaluating import evaluate_bundle, evaluate_path
from stprompt_edge.evaluation.folder import to_dict, write_evaluation
from stprompt_edge.evaluation.records import Evaluation, EvaluationSettings

__all__ = [
    "Evaluation",
    "EvaluationCommand",
    "EvaluationSettings",
    "evaluate",
    "evaluate_bundle",
    "evaluate_path",
    "to_dict",
    "write_evaluation",
]
