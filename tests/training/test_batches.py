import numpy as np
import pytest

pytest.importorskip("torch")

from stprompt_edge.errors import UsageError
from stprompt_edge.features.index import FeatureVideo
from stprompt_edge.training.batches import epoch_videos, make_batch, sample_uniformly


def video(name: str, label: int, length: int = 3, width: int = 4) -> FeatureVideo:
    x = np.full((length, width), float(length), np.float32)
    return FeatureVideo(name=name, label=label, x_clip=x, x_as=x + 1)


@pytest.mark.parametrize(
    ("length", "most", "expected"),
    [(1, 4, [0]), (4, 4, [0, 1, 2, 3]), (9, 3, [0, 4, 8]), (5, 1, [0]), (300, 2, [0, 299])],
)
def test_sample_uniformly(length: int, most: int, expected: list[int]) -> None:
    assert sample_uniformly(length, most).tolist() == expected


@pytest.mark.parametrize(
    ("x_clip", "x_as", "match"),
    [
        (np.zeros((0, 4)), np.zeros((0, 4)), r"features of v have shapes"),
        (np.zeros((2, 4)), np.zeros((3, 4)), r"expected two equal \[T, D\]"),
        (np.zeros(4), np.zeros(4), r"expected two equal"),
        (np.full((1, 2), np.nan), np.zeros((1, 2)), r"not finite.*\n.*remove their file, then extract again"),
        (np.zeros((1, 2)), np.full((1, 2), np.inf), r"not finite"),
    ],
)
def test_bad_features_are_refused(x_clip: np.ndarray, x_as: np.ndarray, match: str) -> None:
    with pytest.raises(UsageError, match=match):
        FeatureVideo(name="v", label=0, x_clip=x_clip.astype(np.float32), x_as=x_as.astype(np.float32))


@pytest.mark.parametrize(
    ("segments", "match"),
    [
        (np.zeros((2, 4)), r"segments of shape \(2, 4\), expected \[S, N, 4\]"),
        (np.zeros((2, 0, 4)), r"segments of shape"),
        (np.zeros((2, 3, 5)), r"segments of shape \(2, 3, 5\), expected \[S, N, 4\]"),
        (np.full((1, 1, 4), np.nan), r"not finite"),
        (np.full((1, 1, 4), 1e5), r"not finite"),  # more than float16 holds
    ],
)
@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
def test_bad_segments_are_refused(segments: np.ndarray, match: str) -> None:
    x = np.zeros((1, 4), np.float32)
    with pytest.raises(UsageError, match=match):
        FeatureVideo(name="v", label=0, x_clip=x, x_as=x, segments=segments.astype(np.float16))


def test_a_batch_is_padded_with_zeros() -> None:
    batch = make_batch([video("a", 0, 2), video("b", 3, 5)], max_length=4)
    assert batch.x_clip.shape == (2, 4, 4)
    assert batch.lengths.tolist() == [2, 4]
    assert batch.labels.tolist() == [0, 3]
    assert batch.x_clip[0, :, 0].tolist() == [2, 2, 0, 0]
    assert batch.x_as[1, :, 0].tolist() == [6, 6, 6, 6]


def test_batches_are_half_normal_and_half_abnormal_and_the_smaller_half_starts_over() -> None:
    videos = [video(f"n{i}", 0) for i in range(5)] + [video(f"a{i}", 1 + i) for i in range(2)]
    labels = [[video.label for video in chosen] for chosen in epoch_videos(videos, batch=4, seed=1, epoch=0)]
    assert [sum(label == 0 for label in row) for row in labels] == [2, 2, 1]
    assert [sum(label > 0 for label in row) for row in labels] == [2, 2, 1]
    assert {label for row in labels for label in row} == {0, 1, 2}


def test_order_depends_on_seed_and_epoch_only() -> None:
    videos = [video(f"{label}{i}", label, length=1 + i) for label in (0, 1) for i in range(8)]

    def order(seed: int, epoch: int) -> list[list[int]]:
        return [[len(video.x_clip) for video in chosen] for chosen in epoch_videos(videos, 4, seed, epoch)]

    assert order(0, 1) == order(0, 1)
    assert order(0, 1) != order(0, 2)
    assert order(0, 1) != order(1, 1)
