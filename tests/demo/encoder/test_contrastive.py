import dataclasses
import math

import numpy as np
import pytest
import torch

from demo.encoder import contrastive
from demo.encoder.captions import CAPTIONS, UNKNOWN
from demo.encoder.contrastive import (
    MODEL,
    EncoderSettings,
    Phase,
    captioned_batches,
    choose_windows,
    contrastive_pairs_loss,
    embed_captions,
    embed_pictures,
    keep_patches,
    mirror,
    random_prefix,
    schedule,
    set_embedding_length,
    show_together,
    train_encoder,
)
from demo.encoder.samples import Samples, render_place
from stprompt_edge.geometry import Geometry
from stprompt_edge.model.clip import embed_texts, load_clip
from stprompt_edge.model.encoder import PackedEncoder
from stprompt_edge.model.prompts import PromptLearner
from stprompt_edge.preprocess import Preprocessor

PLAIN = Phase(steps=2, learning_rate=1e-3, warmup=1, fine=3, coarse=2, whole_steps=1)
AS_USED = Phase(steps=2, learning_rate=1e-3, warmup=1, fine=3, coarse=2, patches=1.0, as_used=True)
TINY = EncoderSettings(frames=2, phases=(PLAIN, AS_USED))


@pytest.fixture(scope="module")
def place() -> Samples:
    return render_place(0, 0)


def literal_loss(logits: np.ndarray, right: np.ndarray, wrong: np.ndarray) -> float:
    rows = []
    for scores, is_right, is_wrong in zip(logits, right, wrong, strict=True):
        against = sum(math.exp(s) for s, w in zip(scores, is_wrong, strict=True) if w)
        terms = [-math.log(math.exp(s) / (math.exp(s) + against)) for s, r in zip(scores, is_right, strict=True) if r]
        if terms:
            rows.append(sum(terms) / len(terms))
    return sum(rows) / len(rows)


def test_the_loss_equals_its_definition():
    rng = np.random.default_rng(0)
    logits, kinds = rng.normal(size=(5, 7)), rng.integers(0, 3, (5, 7))
    right, wrong = kinds == 0, kinds == 1
    got = contrastive_pairs_loss(torch.tensor(logits), torch.tensor(right), torch.tensor(wrong))
    assert float(got) == pytest.approx(literal_loss(logits, right, wrong))


def test_rows_without_a_right_caption_do_not_count_and_nothing_is_zero():
    logits, none = torch.ones(2, 3), torch.zeros(2, 3, dtype=torch.bool)
    assert float(contrastive_pairs_loss(logits, none, ~none)) == 0.0


def test_captions_are_embedded_as_open_clip_embeds_texts():
    clip = load_clip(MODEL, "none", 0)
    texts = list(CAPTIONS.texts[:5])
    with torch.inference_mode():
        got = embed_captions(clip.model, clip.tokenize(texts))
    torch.testing.assert_close(got, embed_texts(clip, texts), atol=1e-5, rtol=0)


def test_with_all_patches_pictures_are_embedded_as_at_the_edge(place):
    clip = load_clip(MODEL, "none", 0)
    encoder = PackedEncoder(clip.model.visual, Geometry())
    batch = next(captioned_batches(place, TINY, AS_USED, Preprocessor(clip.preprocessing), Geometry()))
    with torch.inference_mode():
        (got, patches), expected = embed_pictures(encoder, batch), encoder(batch.image, batch.fine, batch.coarse)
    assert patches.shape == (2, 24, 128)
    for mine, theirs in zip(got, expected, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=0)


def test_batches_have_the_asked_sizes_and_known_concepts(place):
    preprocess = Preprocessor(load_clip(MODEL, "none").preprocessing)
    batches = list(captioned_batches(place, TINY, PLAIN, preprocess, Geometry()))
    assert [batch.kept.shape for batch in batches] == [(2, 79), (2, 197)]
    for batch in batches:
        assert batch.image.shape == (2, 3, 224, 224)
        assert [len(rows) for rows in batch.concepts] == [2, 6, 4, 48]
        assert all(int(rows.min()) >= 0 for rows in batch.concepts)


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_compared_patches_are_kept_ones_and_have_the_concepts_of_their_places(place, share):
    phase = dataclasses.replace(PLAIN, patches=share, whole_steps=0)
    preprocess = Preprocessor(load_clip(MODEL, "none").preprocessing)
    batch = next(captioned_batches(place, TINY, phase, preprocess, Geometry()))
    order = np.random.default_rng(TINY.seed).permutation(len(place))
    for n, index in enumerate(order[: TINY.frames]):
        patches = batch.kept[n].gather(0, batch.patches[n]).numpy() - 1
        assert (patches >= 0).all()
        concepts = place.patch_concepts[index]
        expected = {concepts[patches].tobytes(), mirror(concepts)[patches].tobytes()}
        assert batch.concepts[3].view(TINY.frames, -1)[n].numpy().astype(np.int16).tobytes() in expected


def test_training_repeats_to_the_bit_and_changes_both_towers(place, tmp_path):
    folders = tmp_path / "first", tmp_path / "second"
    for folder in folders:
        folder.mkdir()
    first, second = (train_encoder(place, TINY, folder).model.state_dict() for folder in folders)
    start = load_clip(MODEL, "none", 0).model.state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    for name in ("visual.conv1.weight", "text_projection", "logit_scale"):
        assert not torch.equal(first[name], start[name])


@pytest.mark.parametrize(
    ("device", "cuda", "used"), [(None, True, "cuda"), (None, False, "cpu"), ("cuda:1", True, "cuda:1")]
)
def test_a_gpu_trains_where_there_is_one(place, tmp_path, monkeypatch, device, cuda, used):
    clip, moved = load_clip(MODEL, "none", 0), []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(contrastive, "load_clip", lambda *arguments: clip)
    monkeypatch.setattr(clip.model, "to", lambda where: moved.append(where) or clip.model)
    monkeypatch.setattr(contrastive, "set_embedding_length", lambda *arguments: None)
    train_encoder(place, EncoderSettings(phases=()), tmp_path, device=device)
    assert moved == [used]


def test_all_of_a_batch_goes_to_the_device(place):
    preprocess = Preprocessor(load_clip(MODEL, "none").preprocessing)
    *_, batch = captioned_batches(place, TINY, AS_USED, preprocess, Geometry())
    assert batch.prefix is not None
    there = batch.to(torch.device("meta"))
    tensors = [*(value for name, value in vars(there).items() if name != "concepts"), *there.concepts]
    assert len(tensors) == 12
    assert all(tensor.is_meta for tensor in tensors)


def test_phases_that_were_done_are_not_done_again_and_the_weights_are_the_same(place, tmp_path):
    steps: list[int] = []
    whole = train_encoder(place, TINY, tmp_path, lambda progress: steps.append(progress.step)).model.state_dict()
    assert len(steps) == sum(phase.steps for phase in TINY.phases)
    (tmp_path / f"encoder-phase-{len(TINY.phases)}.safetensors").unlink()
    steps.clear()
    resumed = train_encoder(place, TINY, tmp_path, lambda progress: steps.append(progress.step)).model.state_dict()
    assert len(steps) == TINY.phases[-1].steps
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_frames_get_embeddings_as_long_as_those_of_a_large_clip_and_in_the_same_directions(place):
    clip = load_clip(MODEL, "none", 0)
    image = torch.from_numpy(Preprocessor(clip.preprocessing)(place.image_bgr(0)).image)[None]
    with torch.inference_mode():
        before = clip.model.visual(image)
        set_embedding_length(clip, place)
        after = clip.model.visual(image)
        frames = [Preprocessor(clip.preprocessing)(place.image_bgr(index)).image for index in range(len(place))]
        lengths = clip.model.visual(torch.from_numpy(np.stack(frames))).norm(dim=-1)
    assert float(lengths.mean()) == pytest.approx(0.44 * 128**0.5, rel=1e-3)
    torch.testing.assert_close(after / after.norm(), before / before.norm(), atol=1e-5, rtol=0)


@pytest.mark.parametrize(("step", "expected"), [(0, 0.1), (9, 1.0), (10, 1.0), (60, 0.5), (110, 0.0)])
def test_the_learning_rate_rises_and_falls(step, expected):
    assert schedule(step, Phase(steps=110, learning_rate=1.0, warmup=10)) == pytest.approx(expected)


def test_words_before_a_caption_are_those_of_the_prompt_learner():
    clip = load_clip(MODEL, "none", 0)
    prompts, prefix = PromptLearner(clip, ["fighting"]), random_prefix(np.random.default_rng(0))
    with torch.inference_mode():
        prompts.context.copy_(prefix)
        got = embed_captions(clip.model, clip.tokenize(["fighting"]), prefix)
        torch.testing.assert_close(got, prompts(), atol=1e-5, rtol=0)


def test_averaged_windows_show_what_the_frame_does_only_with_an_abnormal_one_among_them():
    normal, fight = CAPTIONS.concept("normal|shop"), CAPTIONS.concept("fighting|shop")
    frames, windows = torch.tensor([normal, fight, fight]), torch.tensor([9, 9, 9, 9, 9, 0])
    assert show_together(frames, windows).tolist() == [True, False, True]


def test_mirrored_windows():
    np.testing.assert_array_equal(mirror(np.arange(4, dtype=np.int16)), [1, 0, 3, 2])


def test_patches_that_show_something_are_kept_first_and_the_others_differ_from_time_to_time():
    concepts = np.full(196, CAPTIONS.concept("plaza"), np.int16)
    concepts[[7, 100]], concepts[8] = CAPTIONS.concept("fighting"), UNKNOWN
    rng = np.random.default_rng(0)
    kept, again = (keep_patches(concepts, 0.5, rng) for _ in range(2))
    assert len(kept) == 98
    assert {7, 8, 100} <= set(kept) & set(again)
    assert (np.diff(kept) > 0).all()
    assert not np.array_equal(kept, again)
    np.testing.assert_array_equal(keep_patches(concepts, 1.0, rng), np.arange(196))


@pytest.mark.parametrize(
    ("concepts", "count", "abnormal"),
    [([0, 1, 9, 9, 9, -1], 4, 2), ([9, 9, 9, 9], 4, 0), ([0, 0, 0, 0, 9, 9], 4, 2), ([-1, 0], 3, 3)],
)
def test_chosen_windows_are_half_abnormal_at_most_and_never_unknown(concepts, count, abnormal):
    rows = np.array(concepts, np.int16)
    picked = rows[choose_windows(rows, count, np.random.default_rng(0))]
    assert len(picked) == count
    assert (picked >= 0).all()
    assert ((picked < 8).sum()) == abnormal


def test_windows_with_people_are_chosen_before_empty_ones():
    walking, plaza = CAPTIONS.concept("person walking"), CAPTIONS.concept("plaza")
    rows = np.array([plaza] * 40 + [walking] * 4, np.int16)
    picked = rows[choose_windows(rows, 8, np.random.default_rng(0))]
    assert (picked == walking).sum() >= 4
    assert (picked == plaza).sum() >= 2
