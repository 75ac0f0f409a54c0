"""Learned label prompts: CLIP's text encoder from token embeddings on, and a gradient that stays out of CLIP."""

from __future__ import annotations

import pytest
import torch

from stprompt_edge.model.clip import Clip, embed_texts
from stprompt_edge.model.prompts import CONTEXT_LENGTH, PromptLearner, encode_token_embeddings
from stprompt_edge.model.stprompt import STPrompt

NAMES = ["normal", "road accident", "a person climbing over a fence at night"]


@pytest.fixture(params=["demo_clip", "vit_b_16"])
def clip(request: pytest.FixtureRequest) -> Clip:
    return request.getfixturevalue(request.param)


@torch.inference_mode()
@pytest.mark.parametrize("texts", [["x"], ["", "fighting " * 100, *NAMES]], ids=["one", "empty, overlong, ordinary"])
def test_encode_token_embeddings_equals_encode_text(clip: Clip, texts: list[str]) -> None:
    tokens = clip.tokenize(texts)
    got = encode_token_embeddings(clip.model, clip.model.token_embedding(tokens), tokens.argmax(dim=-1))
    torch.testing.assert_close(got, clip.model.encode_text(tokens), atol=1e-5, rtol=0)


@torch.inference_mode()
def test_with_the_placeholders_own_embedding_a_prompt_is_the_text(demo_clip: Clip) -> None:
    learner = PromptLearner(demo_clip, NAMES)
    placeholder = demo_clip.tokenize(["X"])[0, 1]
    learner.context.copy_(demo_clip.model.token_embedding(placeholder).expand(CONTEXT_LENGTH, -1))
    texts = ["X " * CONTEXT_LENGTH + name for name in NAMES]
    torch.testing.assert_close(learner(), embed_texts(demo_clip, texts), atol=1e-5, rtol=0)


def test_prompts_have_unit_length_and_depend_on_context_and_name(demo_clip: Clip) -> None:
    learner = PromptLearner(demo_clip, NAMES)
    before = learner().detach()
    assert before.shape == (3, 128)
    torch.testing.assert_close(before.norm(dim=1), torch.ones(3))
    assert (before[0] - before[1]).abs().max() > 0.001
    with torch.no_grad():
        learner.context.add_(torch.randn(8, 128, generator=torch.Generator().manual_seed(0)))
    assert (learner() - before).abs().amax(dim=1).min() > 0.001


def test_only_the_context_is_a_parameter_and_clip_is_not_saved(demo_clip: Clip) -> None:
    learner = PromptLearner(demo_clip, NAMES)
    assert [name for name, _ in learner.named_parameters()] == ["context"]
    assert list(learner.state_dict()) == ["context"]
    assert learner.context.shape == (8, 128)


def test_the_gradient_reaches_every_trained_weight_and_nothing_in_clip(demo_clip: Clip) -> None:
    torch.manual_seed(0)
    model = STPrompt(demo_clip, NAMES, sigma=1.0)
    logits = model(*torch.randn(2, 5, 128))
    (logits.anomaly_logit.sum() + logits.similarity.square().sum()).backward()
    parameters = dict(model.named_parameters())
    assert {name.split(".")[0] for name in parameters} == {"prompts", "heads"}
    assert {name.split(".")[1] for name in parameters} == {"context", "adapter", "classifier"}
    for name, parameter in parameters.items():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
    assert all(p.grad is None and not p.requires_grad for p in demo_clip.model.parameters())


@pytest.mark.parametrize("shape", [(1,), (6,), (2, 6)], ids=str)
@torch.inference_mode()
def test_the_whole_model_is_its_parts_put_together(demo_clip: Clip, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    model = STPrompt(demo_clip, NAMES, sigma=0.7).eval()
    x_clip, x_as = torch.randn(2, *shape, 128)
    got = model(x_clip, x_as)
    assert got.anomaly_logit.shape == shape
    assert got.similarity.shape == (*shape, 3)
    index = torch.arange(shape[-1])
    weights = torch.exp(-(index[:, None] - index).abs() / 0.7)
    context = weights / weights.sum(dim=1, keepdim=True) @ (x_clip + x_as)
    expected = model.heads(context, x_clip, model.prompts())
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)
