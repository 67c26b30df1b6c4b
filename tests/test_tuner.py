import json
from dataclasses import replace
from pathlib import Path

import keras_tuner
import pytest

from components.recipes import RECIPES
from components.signatures import METADATA_FILE
from components.training import Training
from components.tuner import _Search, search_space


def test_the_search_is_around_the_recipe():
    recipe = RECIPES["best"]
    choices = keras_tuner.HyperParameters()
    assert search_space(choices, recipe) == recipe
    assert {space.name for space in choices.space} == {
        *("learning_rate", "batch_size", "augmentation_strength")
    }
    choices.values["batch_size"] = 64
    assert search_space(choices, recipe) == replace(recipe, batch_size=64)


def test_no_augmentation_is_searched_where_there_is_none():
    choices = keras_tuner.HyperParameters()
    assert search_space(choices, RECIPES["seed"]) == RECIPES["seed"]
    assert "augmentation_strength" not in choices.values


def test_a_trial_that_fails_ends_the_search(tmp_path: Path):
    broken = replace(RECIPES["seed"], optimizer="no such optimizer")
    search = _Search(
        Training(recipe=broken, seed=1, transform=None, train=[0] * 64, validation=[0] * 64),
        max_trials=2,
        max_consecutive_failed_trials=1,
        directory=tmp_path,
    )
    with pytest.raises(RuntimeError, match="no such optimizer"):
        search.search()


def test_the_best_choices_feed_the_trainer(digits, tmp_path: Path):
    root = tmp_path / "run"
    options = "--tune 2 --tune-epochs 1 --epochs 1 --min-accuracy 0.5 --min-recall 0"
    outcome = digits("run", "--root", root, *options.split())
    assert outcome.code == 0, outcome.err
    tuning = json.loads((root / "summary.json").read_text())["tuning"]
    best, other = tuning["trials"]
    assert best["score"] < other["score"]
    assert tuning["best"].items() <= best.items()
    (version,) = (root / "serving" / "digits").iterdir()
    recipe = json.loads((version / METADATA_FILE).read_text())["recipe"]
    assert recipe == {
        **RECIPES["seed"].with_epochs(1).to_dict(),
        "learning_rate": tuning["best"]["learning_rate"],
        "batch_size": tuning["best"]["batch_size"],
    }
