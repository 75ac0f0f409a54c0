from pathlib import Path

import pytest

pytest.importorskip("torch")

from stprompt_edge.errors import UsageError
from stprompt_edge.training.recipe import Recipe, load_recipe, shipped_recipes


@pytest.mark.parametrize(
    ("name", "stride", "alpha"), [("ucf-crime", 16, 0.9), ("shanghaitech", 4, 1.0), ("ubnormal", 4, 1.0)]
)
def test_recipes_of_the_papers_data_sets_are_the_papers(name: str, stride: int, alpha: float) -> None:
    recipe = load_recipe(name)
    assert (recipe.stride, recipe.alpha, recipe.beta) == (stride, alpha, 2.0)
    assert (recipe.windows, recipe.tau, recipe.learning_rate, recipe.batch, recipe.max_length) == (
        12,
        0.07,
        1e-4,
        64,
        256,
    )
    assert name in shipped_recipes()


@pytest.mark.parametrize("name", shipped_recipes())
def test_shipped_recipes_change_little(name: str) -> None:
    assert load_recipe(name).model_fields_set <= {
        "method", "stride", "alpha", "sigma", "epochs", "learning_rate", "batch",
    }  # fmt: skip
    ranking = load_recipe(name, "mil-ranking")
    assert ranking.method == "mil-ranking"
    assert ranking.stride == load_recipe(name).stride


def test_a_recipe_from_a_windows_editor(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("stride = 2\n", encoding="utf-8-sig")
    assert load_recipe(str(tmp_path / "mine.toml")).stride == 2


def test_keys_of_one_method_stand_in_its_table(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("stride = 2\nepochs = 7\n[stprompt]\nsigma = 3.0\n[mil-ranking]\nepochs = 9\nsegments = 4\n")
    stprompt, ranking = load_recipe(str(path)), load_recipe(str(path), "mil-ranking")
    assert (stprompt.method, stprompt.stride, stprompt.epochs, stprompt.sigma) == ("stprompt", 2, 7, 3.0)
    assert (ranking.method, ranking.stride, ranking.epochs, ranking.sigma) == ("mil-ranking", 2, 9, 1.0)
    assert (stprompt.segments, ranking.segments) == (32, 4)
    assert (stprompt.learning_rate, ranking.learning_rate) == (1e-4, 1e-3)


def test_a_recipe_may_name_its_method(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('method = "mil-ranking"\nlearning_rate = 0.5\n')
    assert load_recipe(str(path)).method == "mil-ranking"
    assert load_recipe(str(path)).learning_rate == 0.5
    assert load_recipe(str(path), "stprompt").method == "stprompt"


@pytest.mark.parametrize(("name", "stride"), [("scenes", 4), ("ped2", 4)])
def test_recipes_of_our_own(name: str, stride: int) -> None:
    assert load_recipe(name).stride == stride


def test_the_ranking_method_is_sultanis() -> None:
    recipe = Recipe()
    assert recipe.method == "stprompt"
    assert (recipe.segments, recipe.smoothness, recipe.sparsity) == (32, 8e-5, 8e-5)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("stride = ", r"not valid TOML"),
        ("strid = 4", r"unknown key 'strid'\n.*did you mean 'stride'"),
        ("stride = 0", r"stride: .*greater than or equal to 1"),
        ("batch = 3", r"batch: .*multiple of 2"),
        ("tau = nan", r"tau"),
        ('method = "mil"', r"method: Input should be 'stprompt' or 'mil-ranking'"),
        ("segments = 0", r"segments: .*greater than or equal to 1"),
        ("[mil-ranking]\nsegment = 8", r"unknown key 'segment'\n.*did you mean 'segments'"),
        ("[mil-rankin]\nsegments = 8", r"unknown key 'mil-rankin'"),
        ("stprompt = 3", r"unknown key 'stprompt'"),
        ("sparsity = -1", r"sparsity: .*greater than or equal to 0"),
    ],
)
def test_bad_recipes(tmp_path: Path, text: str, match: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=match):
        load_recipe(str(path))


def test_a_file_that_is_not_text(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="cannot read recipe"):
        load_recipe(str(path))


def test_unknown_recipe_names_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"unknown recipe 'ucf_crime'\n.*did you mean 'ucf-crime'"):
        load_recipe("ucf_crime")


def test_an_empty_file_is_the_default(tmp_path: Path) -> None:
    path = tmp_path / "empty.toml"
    path.touch()
    assert load_recipe(str(path)) == Recipe()
    ranking = load_recipe(str(path), "mil-ranking")
    assert (ranking.learning_rate, ranking.batch) == (1e-3, 16)
