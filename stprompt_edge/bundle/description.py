"""A bundle for people: its facts, and what to know before any of its results."""

from __future__ import annotations

from stprompt_edge.assets import DEMO_CLIP, DEMO_MODEL
from stprompt_edge.bundle.manifest import NO_WEIGHTS
from stprompt_edge.bundle.reading import Bundle


def describe_bundle(bundle: Bundle) -> dict[str, str]:
    """A bundle for people: label -> value."""
    manifest = bundle.manifest
    method = manifest.method
    seconds = method.seconds_between_samples
    is_random = manifest.clip.pretrained == NO_WEIGHTS
    weights = f"random, seed {manifest.clip.seed}" if is_random else manifest.clip.pretrained
    facts = {
        "bundle": str(bundle.path),
        "made by": manifest.created_by,
        "method": method.name,
        "CLIP": f"{manifest.clip.model} ({weights})",
        "vocabulary": f"{bundle.vocabulary.name}, {len(bundle.vocabulary.classes)} classes",
        "motion": f"{method.motion}, {method.motion_timing}, {method.windows} of {bundle.geometry.fine_count} windows",
        "adapter": f"sigma {method.sigma:g} sampled frames",
        "stride": f"{method.stride} camera frames" + (f", {seconds:.3g} s" if seconds else ""),
        "precisions": ", ".join(bundle.precisions),
    }
    for precision, figures in manifest.parity.items():
        forced = ", kept by force" if figures.accepted_by_force else ""
        floats = f", {figures.float_layers} matrix products left in float" if figures.float_layers else ""
        facts[f"{precision} against fp32"] = (
            f"cosine {figures.min_cosine:.5f} or more, score difference {figures.max_score_difference:.4f} or less, "
            f"on {figures.frames} frames{floats}{forced}"
        )
    if manifest.training is None:
        facts["training"] = "none: scores are not calibrated"
    else:
        facts["training"] = ", ".join(f"{key} {value}" for key, value in manifest.training.items())
    return facts


def cautions(bundle: Bundle, source: str = "") -> tuple[str, ...]:
    """What to know of a bundle before any of its results.

    Args:
        bundle: about to be used.
        source: as the user typed it; the packaged clip is a rendered scene, which the packaged bundle knows.
    """
    clip = bundle.manifest.clip
    if clip.pretrained == NO_WEIGHTS:
        return ("the CLIP weights are random: scores mean nothing",)
    if clip.model == DEMO_MODEL and source != str(DEMO_CLIP):
        return ("the CLIP was trained on rendered scenes only: on footage of real cameras its scores mean little",)
    return ()
