"""The observer: a stream at full lookahead gives the offline scores, in bounded memory, and encodes what is needed."""

from __future__ import annotations

import dataclasses
import functools
import gc
import tracemalloc
import types
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from stprompt_edge.bundle import AlarmSection, Bundle
from stprompt_edge.preprocess import preprocess
from stprompt_edge.runtime.alarm import AlarmSettings, Hysteresis
from stprompt_edge.runtime.backends.base import HeadsOutput
from stprompt_edge.runtime.backends.fake import FakeBackend
from stprompt_edge.runtime.frames import CameraFrame
from stprompt_edge.runtime.methods.phrases import phrase_probabilities
from stprompt_edge.runtime.motion import SecondDifference
from stprompt_edge.runtime.observer import Observer
from stprompt_edge.runtime.temporal import StreamingKernel, kernel_reach
from stprompt_edge.runtime.timing import StageTimer
from stprompt_edge.runtime.track import TrackedFrame
from tests.runtime.tiny import GEOMETRY, VARIANTS, VOCABULARY, random_frames, ranking_bundle, tiny_bundle

FINE, COARSE, K = GEOMETRY.fine_count, GEOMETRY.coarse_count, 12
LENGTHS = [1, 2, 3, 15, 100]  # the longest goes around every ring several times


class TorchBackend(FakeBackend):
    """The fake encoder, with the heads of a torch model."""

    def __init__(self, bundle: Bundle, model: Any) -> None:
        super().__init__(bundle)
        self._heads = model.heads

    def heads(self, context: np.ndarray, clip: np.ndarray) -> HeadsOutput:
        import torch

        with torch.inference_mode():
            label_prompts = torch.from_numpy(self._label_prompts)
            logits = self._heads(torch.from_numpy(context), torch.from_numpy(clip), label_prompts)
        return HeadsOutput(anomaly_logit=logits.anomaly_logit.numpy(), similarity=logits.similarity.numpy())


@functools.cache
def seeded_model(sigma: float) -> Any:
    import torch

    from stprompt_edge.model.clip import load_clip
    from stprompt_edge.model.stprompt import STPrompt

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return STPrompt(load_clip("stprompt-demo-16", "none", 0), VOCABULARY.class_names, sigma).eval()


def reachable_arrays(start: object) -> list[np.ndarray]:
    """Every array that is held alive by `start`."""
    seen: dict[int, object] = {}
    waiting = [start]
    while waiting:
        one = waiting.pop()
        if id(one) in seen or isinstance(one, (type, types.ModuleType)):
            continue
        seen[id(one)] = one
        waiting += gc.get_referents(one)
        if isinstance(one, types.FunctionType):
            waiting = [other for other in waiting if other is not one.__globals__]
    return [one for one in seen.values() if isinstance(one, np.ndarray)]


def detect(frames: Sequence[CameraFrame], bundle: Bundle, backend: FakeBackend, **options: Any) -> list[TrackedFrame]:
    observer = Observer(bundle, backend, **options)
    return [found for frame in frames for found in observer.push(frame)] + observer.flush()


def offline_embeddings(frames: Sequence[CameraFrame], bundle: Bundle) -> Any:
    """x_clip [T, D], the selected windows [T, K, D] and their motion [T, K], by the whole-video definitions."""
    import torch

    from stprompt_edge.model import aggregation

    method, backend = bundle.manifest.method, FakeBackend(bundle)
    preprocessed = [preprocess(frame.image_bgr, bundle.preprocessing) for frame in frames]
    every, none = np.arange(FINE)[None], np.zeros((1, 0), np.int64)
    encoded = [backend.encode(item.image[None], every, none) for item in preprocessed]
    windows_TND = torch.from_numpy(np.concatenate([item.fine for item in encoded]))
    if method.motion == "feature":
        motion_TN = aggregation.feature_motion(windows_TND, method.motion_timing)
    else:
        luma_THW = torch.from_numpy(np.stack([item.luma for item in preprocessed]))
        corners = torch.from_numpy(GEOMETRY.windows_xyxy(GEOMETRY.fine))
        motion_TN = aggregation.pixel_motion(luma_THW, corners, method.motion_timing)
    indices_TK = aggregation.select_windows(motion_TN, method.windows)
    width = windows_TND.shape[-1]
    selected_TKD = windows_TND.gather(1, indices_TK[..., None].expand(-1, -1, width))
    return (
        torch.from_numpy(np.concatenate([item.frame for item in encoded])),
        selected_TKD,
        motion_TN.gather(1, indices_TK),
    )


@pytest.mark.parametrize(("motion", "timing"), VARIANTS)
@pytest.mark.parametrize("length", LENGTHS)
def test_full_lookahead_equals_the_model_on_the_whole_video(length: int, motion: str, timing: str) -> None:
    torch = pytest.importorskip("torch")
    from stprompt_edge.model import aggregation
    from stprompt_edge.model.branches import anomaly_score

    branch, sigma = ("a", "c", "mean")[length % 3], (1.0, 2.5)[length % 2]
    model = seeded_model(sigma)
    with torch.inference_mode():
        bundle = tiny_bundle(
            width=128,
            label_prompts=model.prompts().numpy(),
            motion=motion,
            motion_timing=timing,
            score=branch,
            sigma=sigma,
        )
        frames = random_frames(length, seed=length)
        x_clip, selected_TKD, motion_TK = offline_embeddings(frames, bundle)
        logits = model(x_clip, aggregation.aggregate(selected_TKD, motion_TK))
        expected = anomaly_score(*logits, bundle.manifest.method.tau, branch).numpy()
    found = detect(frames, bundle, TorchBackend(bundle, model), lookahead=None, localize="never")
    assert [item.detection.frame_index for item in found] == list(range(length))
    np.testing.assert_allclose([item.detection.score for item in found], expected, atol=1e-4)
    probabilities = (logits.similarity / bundle.manifest.method.tau).softmax(-1).numpy()
    np.testing.assert_allclose([item.detection.class_probabilities for item in found], probabilities, atol=1e-4)


@pytest.mark.parametrize("localize", ["never", "always"])
def test_without_windows_the_frame_alone_is_judged(localize: str) -> None:
    torch = pytest.importorskip("torch")
    from stprompt_edge.model.branches import anomaly_score

    model = seeded_model(1.0)
    with torch.inference_mode():
        bundle = tiny_bundle(width=128, label_prompts=model.prompts().numpy(), windows=0, motion_timing="causal")
        frames = random_frames(9)
        encode, every = FakeBackend(bundle).encode, np.arange(FINE)[None]
        images = [preprocess(frame.image_bgr, bundle.preprocessing).image[None] for frame in frames]
        x_clip = torch.from_numpy(np.concatenate([encode(image, every, every[:, :0]).frame for image in images]))
        expected = anomaly_score(*model(x_clip, torch.zeros_like(x_clip)), bundle.manifest.method.tau, "a").numpy()
    found = detect(frames, bundle, TorchBackend(bundle, model), lookahead=None, localize=localize)
    np.testing.assert_allclose([item.detection.score for item in found], expected, atol=1e-4)


@pytest.mark.parametrize(("motion", "timing"), VARIANTS)
@pytest.mark.parametrize("lookahead", [0, 2, None])
@pytest.mark.parametrize("length", [1, 2, 3, 15, 100])
def test_zero_shot_equals_a_literal_numpy_version(length: int, lookahead: int | None, motion: str, timing: str) -> None:
    pytest.importorskip("torch")
    bundle = tiny_bundle(name="zero-shot", motion=motion, motion_timing=timing)
    frames = random_frames(length, seed=length)
    x_clip, selected_TKD, motion_TK = (x.numpy() for x in offline_embeddings(frames, bundle))

    def abnormal(embeddings_ND: np.ndarray) -> np.ndarray:
        return phrase_probabilities(embeddings_ND, bundle.text, bundle.manifest.localization.tau)[1].sum(axis=1)

    raw = []
    for clip_D, windows_KD, motion_K in zip(x_clip, selected_TKD, motion_TK, strict=True):
        attention = np.exp(motion_K - motion_K.max())
        raw.append((abnormal(clip_D[None])[0] + attention @ abnormal(windows_KD) / attention.sum()) / 2)
    expected = []
    for i in range(length):
        j = np.arange(length if lookahead is None else min(i + lookahead + 1, length))
        weights = np.exp(-np.abs(i - j) / bundle.manifest.method.sigma)
        expected.append(weights @ np.array(raw)[j] / weights.sum())
    found = detect(frames, bundle, FakeBackend(bundle), lookahead=lookahead, localize="never")
    np.testing.assert_allclose([item.detection.score for item in found], expected, atol=1e-4)


class RankingBackend(FakeBackend):
    """The fake encoder, with the heads of a seeded ranking model."""

    def __init__(self, bundle: Bundle, model: Any) -> None:
        super().__init__(bundle)
        self._model = model

    def heads(self, windows: np.ndarray) -> HeadsOutput:
        import torch

        logits = self._model.heads(torch.from_numpy(windows))
        return HeadsOutput(**{name: value.numpy() for name, value in logits._asdict().items()})


@functools.cache
def ranking_model(width: int, sigma: float) -> Any:
    import torch

    from stprompt_edge.model.mil_ranking import MilRanking

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return MilRanking(width, sigma).eval().requires_grad_(False)


@pytest.mark.parametrize("length", [1, 2, 15, 60])
def test_mil_ranking_at_full_lookahead_equals_the_model_on_the_whole_video(length: int) -> None:
    torch = pytest.importorskip("torch")
    sigma = (1.0, 2.5)[length % 2]
    bundle, model = ranking_bundle(sigma=sigma), ranking_model(16, sigma)
    frames, backend = random_frames(length, seed=length), RankingBackend(bundle, model)
    every, none = np.arange(FINE)[None], np.zeros((1, 0), np.int64)
    images = [preprocess(frame.image_bgr, bundle.preprocessing).image for frame in frames]
    windows_TND = np.concatenate([backend.encode(image[None], every, none).fine for image in images])
    expected = model(torch.from_numpy(windows_TND))
    backend.encoded.clear()
    found = detect(frames, bundle, backend, lookahead=None, localize="always")
    scores = [item.detection.score for item in found]
    np.testing.assert_allclose(scores, expected.anomaly_logit.sigmoid(), atol=1e-5)
    assert set(backend.encoded) == {(FINE, 0)}
    assert len(backend.encoded) == length
    for item, heat in zip(found, expected.window_logits.sigmoid().numpy(), strict=True):
        assert item.detection.localization is not None
        np.testing.assert_allclose(item.detection.localization.heat_map[::2, ::2].ravel(), heat, atol=1e-5)


@pytest.mark.parametrize("localize", ["never", "alarm", "always"])
def test_mil_ranking_encodes_all_fine_windows_once_and_nothing_else(localize: str) -> None:
    bundle = ranking_bundle(alarm=AlarmSection(threshold_on=0.0, threshold_off=0.0))
    backend = FakeBackend(bundle)
    found = detect(random_frames(4), bundle, backend, localize=localize)
    assert backend.encoded == [(FINE, 0)] * 4
    assert all((item.detection.localization is not None) == (localize != "never") for item in found)


@pytest.mark.parametrize("localize", ["alarm", "always"])
def test_boxes_are_the_same_where_the_method_uses_every_window(localize: str) -> None:
    """The windows are encoded in order, not most motion first."""
    alarm = AlarmSection(threshold_on=0.0, threshold_off=0.0)
    for some, every in zip(
        *(
            detect(random_frames(5), bundle, FakeBackend(bundle), localize=localize)
            for bundle in (tiny_bundle(alarm=alarm), tiny_bundle(alarm=alarm, windows=FINE))
        ),
        strict=True,
    ):
        assert some.detection.localization is not None
        assert every.detection.localization is not None
        np.testing.assert_allclose(
            every.detection.localization.heat_map, some.detection.localization.heat_map, atol=1e-6
        )


@pytest.mark.parametrize(
    ("timing", "lookahead", "late"), [("causal", 0, 0), ("centered", 0, 1), ("causal", 3, 3), ("centered", 3, 4)]
)
def test_detections_come_as_late_as_motion_and_lookahead_need(timing: str, lookahead: int, late: int) -> None:
    bundle = tiny_bundle(motion_timing=timing)
    observer = Observer(bundle, FakeBackend(bundle), lookahead=lookahead)
    frames = random_frames(8)
    pushed = [[item.detection.frame_index for item in observer.push(frame)] for frame in frames]
    assert pushed == [[] if i < late else [i - late] for i in range(8)]
    assert [item.detection.frame_index for item in observer.flush()] == list(range(8 - late, 8))


@pytest.mark.parametrize("lookahead", [0, None])
def test_an_empty_stream_gives_nothing(lookahead: int | None) -> None:
    bundle = tiny_bundle()
    assert Observer(bundle, FakeBackend(bundle), lookahead=lookahead).flush() == []


@pytest.mark.parametrize("size_wh", [(1, 1), (2, 999), (28, 28), (641, 359)])
def test_frames_of_any_size_and_of_changing_size(size_wh: tuple[int, int]) -> None:
    bundle = tiny_bundle()
    frames = [*random_frames(3), *random_frames(3, size_wh=size_wh)]
    for frame, item in zip(frames, detect(frames, bundle, FakeBackend(bundle), localize="always"), strict=True):
        width, height = frame.size_wh
        assert item.detection.localization is not None
        assert all(box.x1 <= width and box.y1 <= height for box in item.detection.localization.boxes)


def test_the_detection_names_the_most_probable_abnormal_class() -> None:
    bundle = tiny_bundle()
    for item in detect(random_frames(5), bundle, FakeBackend(bundle)):
        found = item.detection
        row = 1 + int(np.argmax(found.class_probabilities[1:]))
        assert found.top_class == VOCABULARY.class_names[row] != "normal"
        assert found.top_probability == found.class_probabilities[row]
        assert found.class_probabilities.sum() == pytest.approx(1, abs=1e-5)


class ScriptedScores(FakeBackend):
    """Score 1 or 0 of the n-th sampled frame, as a text of # and . says."""

    def __init__(self, bundle: Bundle, script: str) -> None:
        super().__init__(bundle)
        self._script = iter(script)

    def heads(self, context: np.ndarray, clip: np.ndarray) -> HeadsOutput:
        logit = 100.0 if next(self._script) == "#" else -100.0
        return HeadsOutput(anomaly_logit=np.array([logit], np.float32), similarity=np.zeros((1, 3), np.float32))


def encoder_calls(script: str, motion: str, localize: str) -> tuple[list[tuple[int, int]], list[bool]]:
    """K and L of every encoder call, and whether each frame was localized."""
    bundle = tiny_bundle(score="c", motion=motion, motion_timing="causal")
    backend = ScriptedScores(bundle, script)
    found = detect(random_frames(len(script)), bundle, backend, localize=localize)
    assert [item.detection.alarm for item in found] == [mark == "#" for mark in script]
    return backend.encoded, [item.detection.localization is not None for item in found]


FEW, ALL, NO_COARSE = (K, 0), (FINE, COARSE), (FINE, 0)


@pytest.mark.parametrize(
    ("motion", "localize", "script", "expected"),
    [
        ("pixel", "never", "..##.", [FEW] * 5),
        ("pixel", "always", "..##.", [ALL] * 5),
        ("pixel", "alarm", ".....", [FEW] * 5),
        # once more on the frame on which the alarm goes on; the frame on which it goes off was expected to need boxes
        ("pixel", "alarm", ".###..", [FEW, FEW, ALL, ALL, ALL, ALL, FEW]),
        ("pixel", "alarm", "#", [FEW, ALL]),
        ("feature", "never", "..##.", [NO_COARSE] * 5),
        ("feature", "always", "..##.", [ALL] * 5),
        ("feature", "alarm", ".##..", [NO_COARSE, NO_COARSE, ALL, ALL, ALL, NO_COARSE]),
    ],
)
def test_all_windows_are_encoded_only_when_boxes_are_wanted(
    motion: str, localize: str, script: str, expected: list[tuple[int, int]]
) -> None:
    calls, localized = encoder_calls(script, motion, localize)
    assert calls == expected
    assert localized == [localize == "always" or (localize == "alarm" and mark == "#") for mark in script]


def test_localizing_does_not_change_the_scores() -> None:
    bundle = tiny_bundle()
    never, always = (
        [item.detection.score for item in detect(random_frames(20), bundle, FakeBackend(bundle), localize=when)]
        for when in ("never", "always")
    )
    np.testing.assert_allclose(never, always, atol=1e-6)


def test_any_frame_is_localized_on_demand_and_keeps_its_score() -> None:
    bundle = tiny_bundle(motion_timing="causal")
    backend = FakeBackend(bundle)
    observer = Observer(bundle, backend, localize="never")
    (always, *_), scores = detect(random_frames(1), bundle, FakeBackend(bundle), localize="always"), []
    for frame in random_frames(4):
        (item,) = observer.push(frame)
        scores.append(item.detection.score)
        if frame.index in (0, 2):
            localization = observer.localize(item)
            if frame.index == 0:
                assert always.detection.localization is not None
                np.testing.assert_allclose(localization.heat_map, always.detection.localization.heat_map, atol=1e-6)
    assert backend.encoded == [FEW, ALL, FEW, FEW, ALL, FEW]  # its score comes of the pass that all frames have
    plain = detect(random_frames(4), bundle, FakeBackend(bundle), localize="never")
    assert scores == [item.detection.score for item in plain]


@pytest.mark.parametrize("lookahead", [0, 3])
def test_a_detection_comes_with_what_it_was_made_from(lookahead: int) -> None:
    bundle = tiny_bundle()
    frames = random_frames(5)
    found = detect(frames, bundle, FakeBackend(bundle), lookahead=lookahead)
    for frame, item in zip(frames, found, strict=True):
        image = preprocess(frame.image_bgr, bundle.preprocessing).image[None]
        none = np.zeros((1, 0), np.int64)
        x_clip = FakeBackend(bundle).encode(image, none, none).frame[0]
        np.testing.assert_array_equal(item.embedded.x_clip_D, x_clip)
        assert item.features.shape == (16,)


def test_the_alarm_is_the_bundles_unless_the_user_has_another() -> None:
    bundle = tiny_bundle(alarm=AlarmSection(threshold_on=0.9, threshold_off=0.8))
    assert Observer(bundle, FakeBackend(bundle)).alarm.settings.threshold_on == 0.9
    other = AlarmSettings(threshold_on=0.2, threshold_off=0.1)
    assert Observer(bundle, FakeBackend(bundle), alarm=other).alarm.settings is other


def test_every_stage_is_timed_once_for_each_frame() -> None:
    bundle = tiny_bundle(motion_timing="causal")
    observer = Observer(bundle, FakeBackend(bundle), localize="always")
    for frame in random_frames(4):
        observer.push(frame)
    counts = {stage: latency.count for stage, latency in observer.timer.summary().items()}
    single = ("step", "preprocess", "encode", "aggregate", "heads", "localize")
    assert counts == {**dict.fromkeys(single, 4), "motion": 8}


@pytest.mark.parametrize("localize", ["alarm", "never"])
@pytest.mark.parametrize("lookahead", [0, 5, None])
@pytest.mark.parametrize(("motion", "timing"), VARIANTS)
def test_no_camera_frame_is_held(motion: str, timing: str, lookahead: int | None, localize: str) -> None:
    """A track holds preprocessed images, so full-size pictures live as long as their owner wants."""
    bundle = tiny_bundle(motion=motion, motion_timing=timing)
    observer = Observer(bundle, FakeBackend(bundle), lookahead=lookahead, localize=localize)  # type: ignore[arg-type]
    for one in random_frames(30):
        frame = dataclasses.replace(one, image_bgr=one.image_bgr.copy())
        picture = weakref.ref(frame.image_bgr)
        observer.push(frame)
        del frame
        assert picture() is None


@pytest.mark.parametrize("offline", [True, False])
@pytest.mark.parametrize(("motion", "timing"), VARIANTS)
def test_offline_no_image_is_held_for_the_lookahead(motion: str, timing: str, offline: bool) -> None:
    bundle = tiny_bundle(motion=motion, motion_timing=timing, sigma=2.0)
    frames = random_frames(60)
    expected = detect(frames, bundle, FakeBackend(bundle), lookahead=None, localize="never")
    observer = Observer(bundle, FakeBackend(bundle), lookahead=None, localize="never", offline=offline)
    held: list[int] = []
    found: list[TrackedFrame] = []
    for frame in frames:
        found += observer.push(frame)
        held.append(sum(array.shape == (3, 28, 28) for array in reachable_arrays(observer)))
    reach, delay = kernel_reach(2.0), timing == "centered"
    assert max(held) == (0 if offline else reach) + delay
    found += observer.flush()
    assert [one.detection.score for one in found] == [one.detection.score for one in expected]
    assert [one.detection.frame_index for one in found] == list(range(60))


def test_memory_is_flat_over_40_000_steps() -> None:
    difference, kernel, timer = SecondDifference("centered"), StreamingKernel(8, 1.0, None), StageTimer()
    alarm = Hysteresis(AlarmSettings(threshold_on=0.6, threshold_off=0.4, min_seconds=1))
    rng = np.random.default_rng(0)
    early = 0
    tracemalloc.start()
    try:
        for step in range(40_000):
            if step == 10_000:  # after the timer's window of samples is full
                early = tracemalloc.get_traced_memory()[0]
            with timer.measure("step"):
                x = difference.push(rng.random(8, dtype=np.float32))
                row = None if x is None else kernel.push(x)
                alarm.update(step / 10, 0.5 if row is None else float(abs(row[0])))
        grown = tracemalloc.get_traced_memory()[0] - early
    finally:
        tracemalloc.stop()
    assert timer.summary()["step"].count == 40_000
    assert grown < 64 << 10, f"{grown} bytes more than after 10 000 steps"
