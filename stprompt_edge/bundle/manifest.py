"""bundle.json: what is said of a model, its footage and its files. Missing or unknown keys are refused."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from stprompt_edge.files import printable

SCHEMA_VERSION = 1
NO_WEIGHTS = "none"  # `ClipSection.pretrained` of seeded random weights
MANIFEST_NAME = "bundle.json"
TEXT_NAME = "text.safetensors"

Positive = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
MethodName = Literal["stprompt", "mil-ranking", "zero-shot"]
MotionTiming = Literal["centered", "causal"]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _printable(cls, value: Any) -> Any:
        """Names of weights and footage may have bytes that are no UTF-8."""
        return printable(value) if isinstance(value, str) else value


class ClipSection(_Section):
    """Which CLIP made the embeddings."""

    model: str  # open_clip's model name
    pretrained: str  # open_clip's tag, a file's name, or "none" for seeded random weights
    seed: int
    embedding_width: Annotated[int, Field(ge=1)]  # D
    weights_sha256: Sha256  # of both towers, see `Clip.weights_sha256`; another file may have the same name


class PreprocessingSection(_Section):
    """See `preprocess.Preprocessing`."""

    size: Annotated[int, Field(ge=1)]
    mean_rgb: tuple[float, float, float]
    std_rgb: tuple[Positive, Positive, Positive]


class GridSection(_Section):
    """See `geometry.WindowGrid`; pixels."""

    size: Annotated[int, Field(ge=1)]
    stride: Annotated[int, Field(ge=1)]


class GeometrySection(_Section):
    """See `geometry.Geometry`; pixels."""

    image_size: Annotated[int, Field(ge=1)]
    patch_size: Annotated[int, Field(ge=1)]
    fine: GridSection
    coarse: GridSection


class MethodSection(_Section):
    """How embeddings become a score; the same values in training and at the edge."""

    name: MethodName
    windows: Annotated[int, Field(ge=0)] = 12  # K of SA², eq. 2; all for mil-ranking; 0: trained on whole frames alone
    sigma: Positive = 1.0  # width of the adapter's kernel in sampled frames, eq. 4
    tau: Positive = 0.07  # temperature of the softmax over classes
    motion: Literal["pixel", "feature"] = "pixel"
    motion_timing: MotionTiming = "centered"
    score: Literal["a", "c", "mean"] = "a"  # which branch gives the score; "a" is the paper's
    stride: Annotated[int, Field(ge=1)] = 16  # camera frames per sampled frame
    seconds_between_samples: Positive | None = None  # of the training footage; None if never trained


class LocalizationSection(_Section):
    """Eq. 11 and its boxes."""

    tau: Positive = 0.01  # temperature of the softmax over phrases; CLIP's own logit scale is 1/0.01
    fine_weight: Fraction = 0.5  # lambda
    threshold: Fraction = 0.5  # heat above which a pixel belongs to a box


class AlarmSection(_Section):
    """Defaults of the alarm; `thresholds.json` has the calibrated ones."""

    threshold_on: Fraction = 0.5
    threshold_off: Fraction = 0.4
    min_seconds: Annotated[float, Field(ge=0)] = 0.0


class ParityFigures(_Section):
    """One precision against fp32 on real frames."""

    min_cosine: float  # over frame, fine and coarse embeddings of all frames
    max_score_difference: float
    frames: int
    source: str  # name of the footage
    float_layers: Annotated[int, Field(ge=0)] = 0  # matrix products that were left unquantized to pass
    accepted_by_force: bool = False


class FileEntry(_Section):
    """Size and digest of one file."""

    sha256: Sha256
    bytes: Annotated[int, Field(ge=0)]


class Manifest(_Section):
    """bundle.json. Missing or unknown keys are refused."""

    schema_version: Literal[1]
    created_by: str
    clip: ClipSection
    preprocessing: PreprocessingSection
    geometry: GeometrySection
    method: MethodSection
    localization: LocalizationSection
    alarm: AlarmSection
    vocabulary: dict[str, Any]
    training: dict[str, Any] | None = None  # data and metrics; None for a bundle that was never trained
    parity: dict[str, ParityFigures] = {}
    files: dict[str, FileEntry] = {}
