import dataclasses
import errno
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from safetensors import safe_open  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

from stprompt_edge import files  # noqa: E402
from stprompt_edge.errors import CheckFailed, EnvironmentFailure, UsageError  # noqa: E402
from stprompt_edge.features.index import FeatureVideo  # noqa: E402
from stprompt_edge.features.segments import segment_means  # noqa: E402
from stprompt_edge.model.checkpoint import load_checkpoint  # noqa: E402
from stprompt_edge.model.clip import Clip, load_clip  # noqa: E402
from stprompt_edge.model.mil_ranking import MilRanking  # noqa: E402
from stprompt_edge.model.stprompt import STPrompt  # noqa: E402
from stprompt_edge.training.batches import make_batch  # noqa: E402
from stprompt_edge.training.curves import TABLE_NAME  # noqa: E402
from stprompt_edge.training.fit import BEST_NAME, LAST_NAME, STATE_NAME, Fit, Task, split_validation  # noqa: E402
from stprompt_edge.training.recipe import Recipe  # noqa: E402
from stprompt_edge.vocabulary import Vocabulary, vocabulary_from_dict  # noqa: E402

WIDTH = 128
WINDOWS = 4
RECIPE = Recipe(epochs=2, batch=8, learning_rate=1e-3, segments=8)
METHODS = ("stprompt", "mil-ranking")


@pytest.fixture(scope="module")
def clip() -> Clip:
    return load_clip("stprompt-demo-16", "none")


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    classes = [{"name": "fire"}, {"name": "fighting"}]
    return vocabulary_from_dict({"name": "two", "normal_phrases": ["a street"], "classes": classes})


@pytest.fixture
def task(clip: Clip, vocabulary: Vocabulary) -> Callable[..., Task]:
    """A task whose recipe has these changes."""

    def make(seed: int = 0, **changes: object) -> Task:
        return Task(clip=clip, vocabulary=vocabulary, recipe=RECIPE.model_copy(update=changes), seed=seed)

    return make


def make_videos(count: int, seed: int = 0) -> list[FeatureVideo]:
    """Noise; abnormal videos have some frames, and one window of each, moved along a direction of their class."""
    rng = np.random.default_rng(seed)
    directions = rng.normal(size=(3, WIDTH)).astype(np.float32)
    videos = []
    for index in range(count):
        label = index % 2 * (1 + index // 2 % 2)
        x = rng.normal(scale=0.3, size=(rng.integers(5, 40), WIDTH)).astype(np.float32)
        windows = rng.normal(scale=0.3, size=(len(x), WINDOWS, WIDTH)).astype(np.float32)
        if label:
            x[2:5] += directions[label]
            windows[2:5, label] += directions[label]
        segments = segment_means(windows, len(x), RECIPE.segments)
        videos.append(FeatureVideo(name=f"v{index}", label=label, x_clip=x, x_as=x, segments=segments))
    return videos


def video_scores(model: STPrompt | MilRanking, video: FeatureVideo) -> "torch.Tensor":
    """Highest score of a video."""
    if isinstance(model, MilRanking):
        return model(torch.from_numpy(video.segments).float()).anomaly_logit.sigmoid().max()
    similarity = model(torch.from_numpy(video.x_clip), torch.from_numpy(video.x_as)).similarity
    return 1 - (similarity / RECIPE.tau).softmax(-1)[:, 0].min()


@pytest.mark.parametrize("method", METHODS)
def test_it_learns_what_is_there_to_learn(method: str, task: Callable[..., Task], clip: Clip, tmp_path: Path) -> None:
    changes = {"epochs": 12, "learning_rate": 5e-3} if method == "mil-ranking" else {"epochs": 10}
    fit = Fit(task(method=method, **changes), make_videos(24))
    checkpoint = load_checkpoint(fit.run(tmp_path))
    assert fit.figures[-1].train["total"] < 0.5 * fit.figures[0].train["total"]
    assert checkpoint.method.name == method
    model = checkpoint.build(clip)
    assert type(model) is {"stprompt": STPrompt, "mil-ranking": MilRanking}[method]
    scores = {True: [], False: []}
    for video in make_videos(24):
        scores[video.label > 0].append(float(video_scores(model, video)))
    assert np.mean(scores[True]) > np.mean(scores[False]) + 0.1


def test_gradient_reaches_prompts_adapter_and_both_branches_and_nothing_in_clip(
    task: Callable[..., Task], clip: Clip
) -> None:
    fit = Fit(task(), make_videos(8))
    fit.method.judge(make_videos(8)).losses["total"].backward()
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


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("when", ["between epochs", "inside an epoch"])
def test_an_interrupted_training_ends_in_the_same_weights(
    method: str, when: str, task: Callable[..., Task], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    three = task(method=method, epochs=3)
    videos = make_videos(24)
    whole = Fit(three, videos)
    whole.run(tmp_path / "whole")
    stop = threading.Event()
    interrupted = Fit(three, videos)
    if when == "inside an epoch":
        judge = interrupted.method.judge
        calls = []

        def judging(batch: list[FeatureVideo]) -> object:
            calls.append(len(batch))
            if len(calls) == 6:  # in the second epoch: three batches and the validation in each
                stop.set()
            return judge(batch)

        monkeypatch.setattr(interrupted.method, "judge", judging)
        interrupted.run(tmp_path / "parts", stop=stop)
    else:
        interrupted.run(tmp_path / "parts", stop=stop, on_epoch=lambda figures: stop.set())
    assert load_checkpoint(tmp_path / "parts" / LAST_NAME).training["epochs"] == 1
    resumed, told = Fit(three, videos), []
    torch.rand(5)  # whatever else draws random numbers
    resumed.run(tmp_path / "parts", on_epoch=lambda figures: told.append(len(figures)))
    assert resumed.figures == whole.figures
    assert told == [2, 3]
    for name in (LAST_NAME, BEST_NAME, TABLE_NAME):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes(), name


def test_training_leaves_torchs_random_numbers_alone(task: Callable[..., Task]) -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    first = torch.rand(1)
    Fit(task(method="mil-ranking"), make_videos(8)).epoch(0)
    assert torch.equal(torch.cat([first, torch.rand(1)]), expected)


@pytest.mark.parametrize("method", METHODS)
def test_figures_hold_losses_validation_and_which_epoch_was_best(
    method: str, task: Callable[..., Task], tmp_path: Path
) -> None:
    fit = Fit(task(method=method, epochs=4), make_videos(40))
    fit.run(tmp_path)
    totals = []
    for row in fit.figures:
        assert row.validation is not None
        assert list(row.train) == list(row.validation)
        assert list(row.train)[-1] == "total"
        assert row.validation_auc is not None
        assert 0 <= row.validation_auc <= 1
        totals.append(row.validation["total"])
    assert [row.best for row in fit.figures] == [total == min(totals[: n + 1]) for n, total in enumerate(totals)]
    best = 1 + max(row.epoch for row in fit.figures if row.best)
    assert load_checkpoint(tmp_path / BEST_NAME).training["epochs"] == best
    assert len((tmp_path / TABLE_NAME).read_text().splitlines()) == 5


def test_state_of_another_training_is_refused(task: Callable[..., Task], tmp_path: Path) -> None:
    videos = make_videos(8)
    Fit(task(epochs=1), videos).run(tmp_path)
    timing = dataclasses.replace(task(), motion_timing="causal")
    weights = dataclasses.replace(task(), clip=load_clip("stprompt-demo-16", "demo"))  # of the same size
    for other in (task(seed=1), task(method="mil-ranking"), timing, weights):
        with pytest.raises(CheckFailed, match="state of another training"):
            Fit(other, videos).run(tmp_path)
    moved = [dataclasses.replace(videos[0], x_as=videos[0].x_as + np.float32(1e-3)), *videos[1:]]
    for changed in (moved, videos[::-1], make_videos(8, seed=1)):
        with pytest.raises(CheckFailed, match=r"state of another training \(.*features differ"):
            Fit(task(), changed).run(tmp_path)
    assert Fit(task(epochs=1), videos).run(tmp_path) == tmp_path / BEST_NAME


@pytest.fixture
def finished(task: Callable[..., Task], tmp_path: Path) -> Path:
    """A folder of a training of one epoch on `make_videos(8)`."""
    Fit(task(epochs=1), make_videos(8)).run(tmp_path)
    return tmp_path


def described(path: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """Change the description of a state file in place."""
    with safe_open(path, framework="pt") as file:
        description = json.loads(file.metadata()["state"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a dict
    edit(description)
    save_file(tensors, path, metadata={"state": json.dumps(description)})


def with_tensor(path: Path, name: str, tensor: "torch.Tensor") -> None:
    with safe_open(path, framework="pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  not a dict
        metadata = file.metadata()
    save_file({**tensors, name: tensor}, path, metadata=metadata)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_bytes(b"nothing of the kind"), "SafetensorError"),
        (lambda path: (path.unlink(), path.mkdir()), "Error"),
        (lambda path: described(path, lambda d: d.pop("task")), "KeyError: 'task'"),
        (lambda path: described(path, lambda d: d.pop("figures")), "KeyError: 'figures'"),
        (lambda path: described(path, lambda d: d["figures"][0].pop("train")), r"TypeError: .*'train'"),
        (lambda path: with_tensor(path, "model.none", torch.zeros(1)), "RuntimeError: Error.* in loading state_dict"),
        (lambda path: with_tensor(path, "optimizer.x.step", torch.zeros(1)), "ValueError: invalid literal"),
    ],
)
def test_a_damaged_state(
    task: Callable[..., Task], finished: Path, damage: Callable[[Path], object], message: str
) -> None:
    damage(finished / STATE_NAME)
    with pytest.raises(CheckFailed, match=rf"{STATE_NAME} is damaged \(.*{message}.*\n.*remove it"):
        Fit(task(), make_videos(8)).run(finished)


def test_a_state_whose_best_checkpoint_is_gone(task: Callable[..., Task], finished: Path) -> None:
    (finished / BEST_NAME).unlink()
    with pytest.raises(CheckFailed, match=rf"a training without its {BEST_NAME}\n.*remove .*{STATE_NAME} to train"):
        Fit(task(epochs=1), make_videos(8)).run(finished)


def test_a_negative_seed(task: Callable[..., Task]) -> None:
    with pytest.raises(UsageError, match="seed -1, expected 0 or more"):
        task(seed=-1)


@pytest.mark.parametrize("method", METHODS)
def test_validation_runs_in_batches_and_gives_the_losses_of_all(
    method: str, task: Callable[..., Task], monkeypatch: pytest.MonkeyPatch
) -> None:
    videos = make_videos(20)
    fit = Fit(task(method=method, batch=8), videos)
    fit.model.eval()
    whole = fit.method.judge(videos)
    sizes, forward = [], type(fit.model.heads).forward

    def counting(heads: object, first: "torch.Tensor", *rest: "torch.Tensor") -> object:
        sizes.append(len(first))
        return forward(heads, first, *rest)

    monkeypatch.setattr(type(fit.model.heads), "forward", counting)
    with torch.inference_mode():
        parts = fit.method.judge(videos)
    assert sizes == [8, 8, 4]
    assert list(parts.losses) == list(whole.losses)
    for name, loss in whole.losses.items():
        torch.testing.assert_close(parts.losses[name], loss.detach(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(parts.scores_B, whole.scores_B, rtol=1e-5, atol=1e-6)


def test_features_of_another_encoder_are_refused(task: Callable[..., Task]) -> None:
    x = np.zeros((3, 512), np.float32)
    with pytest.raises(UsageError, match="have width 512, stprompt-demo-16 gives 128"):
        Fit(task(), [FeatureVideo(name="v", label=0, x_clip=x, x_as=x)])


def test_features_without_windows_name_the_option(task: Callable[..., Task]) -> None:
    x = np.zeros((3, WIDTH), np.float32)
    videos = [*make_videos(4), FeatureVideo(name="bare", label=0, x_clip=x, x_as=x)]
    with pytest.raises(UsageError, match=r"features of bare have no windows.*\n.*extract --keep windows"):
        Fit(task(method="mil-ranking"), videos)
    Fit(task(), videos)  # the other method does not need them


@pytest.mark.parametrize(("keep", "missing"), [(0, "abnormal"), (1, "normal")])
def test_one_kind_of_video_only(task: Callable[..., Task], keep: int, missing: str) -> None:
    videos = [video for video in make_videos(8) if (video.label > 0) == keep]
    with pytest.raises(UsageError, match=f"no {missing} video to train on"):
        Fit(task(), videos)


@pytest.mark.parametrize("method", METHODS)
def test_one_frame_videos_train(method: str, task: Callable[..., Task]) -> None:
    x, segments = np.ones((1, WIDTH), np.float32), np.ones((1, 1, WIDTH), np.float16)
    videos = [
        FeatureVideo(name=str(label), label=label, x_clip=x * label, x_as=x, segments=segments * np.float16(label))
        for label in (0, 1)
    ]
    figures = Fit(task(method=method, segments=1), videos).epoch(0)
    assert figures is not None
    assert np.isfinite(figures.train["total"])
    assert figures.validation is None
    assert figures.validation_auc is None


@pytest.mark.parametrize("method", METHODS)
def test_a_loss_that_is_not_finite_ends_the_training_and_keeps_what_was_there(
    method: str, task: Callable[..., Task], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit = Fit(task(method=method), make_videos(8))

    def explode(figures: object) -> None:
        with torch.no_grad():
            next(iter(fit.model.heads.parameters())).fill_(torch.inf)

    with pytest.raises(CheckFailed, match=r"the loss of epoch 2 is nan\n.*lower learning_rate"):
        fit.run(tmp_path, on_epoch=explode)
    checkpoint = load_checkpoint(tmp_path / LAST_NAME)
    assert checkpoint.training["epochs"] == 1
    assert all(weight.isfinite().all() for weight in checkpoint.weights.values())


def test_a_full_disk_while_training(task: Callable[..., Task], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fit = Fit(task(epochs=3), make_videos(8))
    synced = files._fsync

    def full(path: Path, flags: int) -> None:
        if len(fit.figures) == 2 and STATE_NAME in path.name:
            raise OSError(errno.ENOSPC, "no space")
        synced(path, flags)

    monkeypatch.setattr(files, "_fsync", full)
    with pytest.raises(EnvironmentFailure, match=rf"disk full while writing .*{STATE_NAME}"):
        fit.run(tmp_path / "parts")
    assert not list(tmp_path.rglob("*.partial"))
    monkeypatch.undo()
    for name in ("parts", "whole"):
        Fit(task(epochs=3), make_videos(8)).run(tmp_path / name)
    for name in (LAST_NAME, BEST_NAME, TABLE_NAME):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes(), name


def test_a_place_that_cannot_be_written(task: Callable[..., Task], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UsageError, match="cannot write"):
        Fit(task(), make_videos(8)).run(tmp_path / "file" / "out")


def labelled(*labels: int) -> list[FeatureVideo]:
    x = np.zeros((1, 2), np.float32)
    return [FeatureVideo(name=f"v{n}", label=label, x_clip=x, x_as=x) for n, label in enumerate(labels)]


def test_validation_takes_a_tenth_of_each_kind() -> None:
    videos = make_videos(60)
    train, validation = split_validation(videos, seed=0)
    assert sorted(video.label > 0 for video in validation) == [False] * 3 + [True] * 3
    assert sorted(video.name for video in train + validation) == sorted(video.name for video in videos)
    assert [video.name for video in split_validation(videos, seed=0)[1]] == [video.name for video in validation]
    assert [video.name for video in split_validation(videos, seed=1)[1]] != [video.name for video in validation]


def test_the_only_video_of_a_class_is_trained_on() -> None:
    for seed in range(5):
        _, validation = split_validation(labelled(*[0] * 20, *range(1, 19), 19, 19), seed)
        assert [video.label for video in validation if video.label] == [19]


@pytest.mark.parametrize("labels", [[0] * 50 + [1] * 9, [0] * 9 + [1] * 50, [0, 1]])
def test_nothing_is_held_out_unless_it_is_of_both_kinds(labels: list[int]) -> None:
    videos = labelled(*labels)
    assert split_validation(videos, seed=0) == (videos, [])
