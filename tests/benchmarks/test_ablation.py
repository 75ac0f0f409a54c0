"""Rows of the ablation, and one of them from features to figures."""

import pytest

pytest.importorskip("torch")

from benchmarks import ablation
from benchmarks.ablation import TABLES, Job, cells, run
from benchmarks.ablation_models import FULL, Variant
from stprompt_edge.model.clip import Clip, load_clip
from stprompt_edge.training.recipe import Recipe
from tests.benchmarks.synthetic import synthetic


@pytest.fixture(scope="module")
def clip() -> Clip:
    return load_clip("stprompt-demo-16", "none")


@pytest.mark.parametrize(("table", "rows"), [("branches", 12), ("spatial", 4), ("temporal", 4), ("motion", 6)])
def test_every_table_has_its_rows_and_the_shipped_method_among_them(table: str, rows: int) -> None:
    variants = list(TABLES[table].values())
    assert len(set(variants)) == rows
    assert variants.count(FULL) == 1


def test_names_of_branches_say_what_is_in() -> None:
    assert TABLES["branches"]["A-branch, adapter"] == Variant(branches="a", aggregation="none")
    assert TABLES["branches"]["both branches, SA², adapter"] == FULL


@pytest.mark.parametrize("variant", [FULL, Variant(branches="c", aggregation="attention", temporal="transformer")])
def test_a_row_is_learned_and_scored(variant: Variant, clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ablation, "loaded", lambda dataset, encoder: synthetic("scenes"))
    monkeypatch.setattr(ablation, "clip_of", lambda encoder: clip)
    monkeypatch.setattr(ablation, "recipe_of", lambda dataset: Recipe(epochs=8, learning_rate=1e-3))
    figures = run(Job(dataset="scenes", variant=variant, seed=0))
    assert figures["auc"] > 0.8
    assert 0 < figures["ap"] <= 1


def test_cells_are_in_percent() -> None:
    value = {"mean": 0.9, "std": 0.01}
    difference = {"mean": -0.02, "standard_error": 0.005, "above": 1}
    assert cells({"auc": value, "ap": value, "to_full": difference}) == ["90.00 ± 1.00"] * 2 + ["-2.00 ± 0.50"]
