"""THE CONTRACT between export and the edge: a folder with a manifest, graphs, text embeddings and their sha256.

See the design's section 4 for the files.
"""

from __future__ import annotations

from stprompt_edge.bundle.description import cautions, describe_bundle
from stprompt_edge.bundle.graphs import (
    ANY_SIZE,
    ENCODER,
    ENCODER_NAMES,
    HEADS_NAME,
    METHOD_TRAITS,
    Graph,
    GraphShapes,
    MethodTraits,
    Shapes,
    tensor_type,
)
from stprompt_edge.bundle.manifest import (
    MANIFEST_NAME,
    NO_WEIGHTS,
    SCHEMA_VERSION,
    TEXT_NAME,
    AlarmSection,
    ClipSection,
    FileEntry,
    GeometrySection,
    GridSection,
    LocalizationSection,
    Manifest,
    MethodName,
    MethodSection,
    MotionTiming,
    ParityFigures,
    PreprocessingSection,
)
from stprompt_edge.bundle.reading import Bundle, TextEmbeddings, describe_file, load_bundle
from stprompt_edge.bundle.writing import check_replaceable, seal_bundle, staged_folder

__all__ = [
    "ANY_SIZE",
    "ENCODER",
    "ENCODER_NAMES",
    "HEADS_NAME",
    "MANIFEST_NAME",
    "METHOD_TRAITS",
    "NO_WEIGHTS",
    "SCHEMA_VERSION",
    "TEXT_NAME",
    "AlarmSection",
    "Bundle",
    "ClipSection",
    "FileEntry",
    "GeometrySection",
    "Graph",
    "GraphShapes",
    "GridSection",
    "LocalizationSection",
    "Manifest",
    "MethodName",
    "MethodSection",
    "MethodTraits",
    "MotionTiming",
    "ParityFigures",
    "PreprocessingSection",
    "Shapes",
    "TextEmbeddings",
    "cautions",
    "check_replaceable",
    "describe_bundle",
    "describe_file",
    "load_bundle",
    "seal_bundle",
    "staged_folder",
    "tensor_type",
]
