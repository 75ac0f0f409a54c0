"""CLIP's weights from whatever people have them in: which file, its tensors, their names, and whether they fit."""

from stprompt_edge.model.weights.activation import Activation, check_activation
from stprompt_edge.model.weights.fitting import ClipWeights, read_weights
from stprompt_edge.model.weights.hub import fetch_weights, quiet_logger

__all__ = ["Activation", "ClipWeights", "check_activation", "fetch_weights", "quiet_logger", "read_weights"]
