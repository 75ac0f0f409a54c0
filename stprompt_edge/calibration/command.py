"""What `stprompt-edge calibrate int8` does with what a user typed; what can be refused is refused before the work."""

from __future__ import annotations

from pathlib import Path

from stprompt_edge.bundle import ENCODER_NAMES, check_replaceable, load_bundle
from stprompt_edge.calibration.records import Int8Calibration, Int8Settings, Progress
from stprompt_edge.calibration.staging import check_own_files
from stprompt_edge.files import check_writable
from stprompt_edge.imports import import_failure
from stprompt_edge.overwriting import Input, check_outputs
from stprompt_edge.runtime.source_files import source_files


def calibrate_int8(
    path: Path, settings: Int8Settings, progress: Progress = lambda what, done: None
) -> tuple[Int8Calibration, tuple[Path, ...]]:
    """Quantize a bundle's encoder from footage, judge it, and put it into the bundle; whole or not at all.

    Args:
        path: of the bundle.
        settings: see there.
        progress: told what is being done.

    Returns:
        What was found, and the files of the report.

    Raises:
        UsageError: the bundle has no fp32 encoder or its files are links, footage or data set do not suffice, an output
            is an input.
        CheckFailed: parity cannot be held (unless `force`; the report is written all the same), or a Q/DQ rule is
            broken.
        SourceError: footage cannot be read.
        EnvironmentFailure: a package is missing, or the disk is full.
    """
    require_packages()
    from stprompt_edge.calibration.int8 import Int8Calibrator
    from stprompt_edge.calibration.report import REPORT_NAMES
    from stprompt_edge.datasets import load_dataset
    from stprompt_edge.evaluation.evaluating import videos_of
    from stprompt_edge.evaluation.metrics import import_sklearn_metrics
    from stprompt_edge.evaluation.records import EvaluationSettings

    bundle = load_bundle(path)
    bundle.file(ENCODER_NAMES["fp32"])
    check_own_files(bundle)
    dataset = None
    inputs: list[Input] = [("footage", file) for source in settings.footage for file in source_files(source)]
    if settings.dataset is not None:
        dataset = load_dataset(settings.dataset, settings.dataset_format)
        videos_of(dataset, EvaluationSettings())
        import_sklearn_metrics()
        inputs += [("data set", settings.dataset), *(("video", video.path) for video in dataset.videos)]
    check_replaceable(path, [*inputs, ("folder of the report", settings.out)])
    reports = [settings.out / name for name in REPORT_NAMES]
    check_outputs([*inputs, ("bundle", path)], files=reports, folder=settings.out)
    check_writable(settings.out)
    return Int8Calibrator(bundle, settings, dataset, progress).run()


def require_packages() -> None:
    """What quantizing and its charts need.

    Raises:
        EnvironmentFailure: names the extra to install.
    """
    try:
        import matplotlib.figure  # noqa: F401
        import onnx  # noqa: F401
    except ImportError as exc:
        what = "calibration needs a package that cannot be imported"
        raise import_failure("onnx", exc, what=what, remedy='pip install "stprompt-edge[train]"') from exc
