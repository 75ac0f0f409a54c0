import threading
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from stprompt_edge.errors import CheckFailed, UsageError  # noqa: E402
from stprompt_edge.model.checkpoint import load_checkpoint  # noqa: E402
from stprompt_edge.model.clip import Clip, load_clip  # noqa: E402
from stprompt_edge.model.stprompt import STPrompt  # noqa: E402
from stprompt_edge.training.batches import FeatureVideo, make_batch  # noqa: E402
from stprompt_edge.training.fit import BEST_NAME, LAST_NAME, STATE_NAME, Fit, Task, split_validation  # noqa: E402
from stprompt_edge.training.recipe import Recipe  # noqa: E402
from stprompt_edge.vocabulary import Vocabulary, vocabulary_from_dict  # noqa: E402

WIDTH = 128
RECIPE = Recipe(epochs=2, batch=8, learning_rate=1e-3)


@pytest.fixture(scope="module")
def clip() -> Clip:
    return load_clip("stprompt-demo-16", "none")


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    classes = [{"name": "fire"}, {"name": "fighting"}]
    return vocabulary_from_dict({"name": "two", "normal_phrases": ["a street"], "classes": classes})


def make_videos(count: int, seed: int = 0) -> list[FeatureVideo]:
    """Noise; abnormal videos have some frames moved along a direction of their class."""
    rng = np.random.default_rng(seed)
    directions = rng.normal(size=(3, WIDTH)).astype(np.float32)
    videos = []
    for index in range(count):
        label = index % 2 * (1 + index // 2 % 2)
        x = rng.normal(scale=0.3, size=(rng.integers(5, 40), WIDTH)).astype(np.float32)
        if label:
            x[2:5] += directions[label]
        videos.append(FeatureVideo(name=f"v{index}", label=label, x_clip=x, x_as=x))
    return videos


def test_it_learns_what_is_there_to_learn(clip: Clip, vocabulary: Vocabulary, tmp_path: Path) -> None:
    fit = Fit(Task(clip=clip, vocabulary=vocabulary, recipe=RECIPE.model_copy(update={"epochs": 10})), make_videos(24))
    checkpoint = load_checkpoint(fit.run(tmp_path))
    assert fit.figures[-1].train.total < 0.5 * fit.figures[0].train.total
    model = checkpoint.build(clip)
    normal, abnormal = [], []
    for video in make_videos(24):
        similarity = model(torch.from_numpy(video.x_clip)[None], torch.from_numpy(video.x_as)[None]).similarity[0]
        score = 1 - (similarity / RECIPE.tau).softmax(-1)[:, 0]
        (abnormal if video.label else normal).append(score.max().item())
    assert np.mean(abnormal) > np.mean(normal) + 0.2


def test_gradient_reaches_prompts_adapter_and_both_branches_and_nothing_in_clip(
    clip: Clip, vocabulary: Vocabulary
) -> None:
    fit = Fit(Task(clip=clip, vocabulary=vocabulary, recipe=RECIPE), make_videos(8))
    fit._losses(make_batch(make_videos(8), 64))[-1].backward()
    for name, parameter in fit.model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
    assert all(parameter.grad is None for parameter in clip.model.parameters())
    names = {name.split(".")[0] + "." + name.split(".")[1] for name, _ in fit.model.named_parameters()}
    assert names == {"prompts.context", "heads.adapter", "heads.classifier"}


def test_padding_does_not_change_a_video(clip: Clip, vocabulary: Vocabulary) -> None:
    torch.manual_seed(0)
    model = STPrompt(clip, vocabulary.class_names, sigma=2.0).eval()
    short, long = make_videos(2)
    batch = make_batch([short, long], 64)
    with torch.inference_mode():
        prompts = model.prompts()
        padded = model.with_prompts(batch.x_clip, batch.x_as, prompts, batch.lengths)
        for row, video in enumerate((short, long)):
            alone = model(torch.from_numpy(video.x_clip), torch.from_numpy(video.x_as))
            length = len(video.x_clip)
            torch.testing.assert_close(padded.similarity[row, :length], alone.similarity, atol=1e-5, rtol=0)
            torch.testing.assert_close(padded.anomaly_logit[row, :length], alone.anomaly_logit, atol=1e-5, rtol=0)


def test_an_interrupted_training_ends_in_the_same_weights(clip: Clip, vocabulary: Vocabulary, tmp_path: Path) -> None:
    task = Task(clip=clip, vocabulary=vocabulary, recipe=RECIPE)
    videos = make_videos(12)
    Fit(task, videos).run(tmp_path / "whole")
    stop = threading.Event()
    Fit(task, videos).run(tmp_path / "parts", stop=stop, on_epoch=lambda figures: stop.set())
    assert load_checkpoint(tmp_path / "parts" / LAST_NAME).training["epochs"] == 1
    Fit(task, videos).run(tmp_path / "parts")
    for name in (LAST_NAME, BEST_NAME):
        whole, parts = (load_checkpoint(tmp_path / folder / name).weights for folder in ("whole", "parts"))
        assert all(torch.equal(whole[key], parts[key]) for key in whole), name


def test_state_of_another_training_is_refused(clip: Clip, vocabulary: Vocabulary, tmp_path: Path) -> None:
    videos = make_videos(8)
    Fit(Task(clip=clip, vocabulary=vocabulary, recipe=RECIPE.model_copy(update={"epochs": 1})), videos).run(tmp_path)
    with pytest.raises(CheckFailed, match="state of another training"):
        Fit(Task(clip=clip, vocabulary=vocabulary, recipe=RECIPE, seed=1), videos).run(tmp_path)
    (tmp_path / STATE_NAME).write_bytes(b"nothing of the kind")
    with pytest.raises(CheckFailed, match="is damaged"):
        Fit(Task(clip=clip, vocabulary=vocabulary, recipe=RECIPE), videos).run(tmp_path)


def test_features_of_another_encoder_are_refused(clip: Clip, vocabulary: Vocabulary) -> None:
    x = np.zeros((3, 512), np.float32)
    with pytest.raises(UsageError, match="have width 512, stprompt-demo-16 gives 128"):
        Fit(Task(clip=clip, vocabulary=vocabulary, recipe=RECIPE), [FeatureVideo(name="v", label=0, x_clip=x, x_as=x)])


@pytest.mark.parametrize(("keep", "missing"), [(0, "abnormal"), (1, "normal")])
def test_one_kind_of_video_only(clip: Clip, vocabulary: Vocabulary, keep: int, missing: str) -> None:
    videos = [video for video in make_videos(8) if (video.label > 0) == keep]
    with pytest.raises(UsageError, match=f"no {missing} video to train on"):
        Fit(Task(clip=clip, vocabulary=vocabulary, recipe=RECIPE), videos)


def test_one_frame_videos_train(clip: Clip, vocabulary: Vocabulary) -> None:
    x = np.ones((1, WIDTH), np.float32)
    videos = [FeatureVideo(name=str(label), label=label, x_clip=x * label, x_as=x) for label in (0, 1)]
    figures = Fit(Task(clip=clip, vocabulary=vocabulary, recipe=RECIPE), videos).epoch(0)
    assert figures is not None
    assert np.isfinite(figures.train.total)
    assert figures.validation is None


def test_validation_takes_a_tenth_of_each_class() -> None:
    train, validation = split_validation(make_videos(60), seed=0)
    assert len(train) + len(validation) == 60
    assert sorted(video.label for video in validation) == [0, 0, 0, 1, 2]
    assert not {video.name for video in train} & {video.name for video in validation}
