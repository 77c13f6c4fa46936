"""Recipes: the dataset of a run made again, and known to be the same."""

import json
import pathlib
import shutil
from typing import Any

import pytest

from dlexp.config.experiment_config import ExperimentConfig, config_fields
from dlexp.config.sections import DataConfig
from dlexp.datasets import open_dataset
from dlexp.errors import ConfigError, DataError, RunNotFoundError
from dlexp.registry import SOURCES
from dlexp.runs.recipe import RECIPE_FIELDS, make_recipe, recipe_text, resolve_recipe
from dlexp.runs.run import RECIPE_FILE, create_run
from tests.support.image_folders import write_digits_folder


@pytest.fixture
def data(tmp_path: pathlib.Path) -> DataConfig:
    """Two folders and a map, split by hash."""
    write_digits_folder(tmp_path / "data" / "one", 120)
    write_digits_folder(tmp_path / "data" / "deep" / "two", 90)
    (tmp_path / "map.json").write_text(json.dumps({"two/9": None}))
    return DataConfig(
        dataset=f"folder:{tmp_path / 'data' / 'one'}*2+folder:{tmp_path / 'data' / 'deep' / 'two'}",
        class_map=str(tmp_path / "map.json"),
        split_method="hash",
        split_seed=5,
        batch_size=8,
    )


def recipe_of(data: DataConfig) -> dict[str, Any]:
    dataset = open_dataset(data)
    return make_recipe(data, dataset_name=dataset.name, dataset_id=dataset.id, split_method=dataset.split_method)


def test_recipe_holds_the_fields_that_make_the_dataset_in_the_order_of_earlier_versions(data: DataConfig) -> None:
    recipe = make_recipe(data, dataset_name="photos", dataset_id="0" * 16, split_method="hash")
    assert list(recipe) == list(RECIPE_FIELDS)
    assert RECIPE_FIELDS == (
        "dataset", "dataset_name", "dataset_id", "data_dir", "class_map", "on_bad_image", "split_method", "split_seed",
        "validation_fraction", "test_fraction", "group_column", "group_pattern", "folds", "fold",
    )  # fmt: skip
    assert set(recipe) == {name for name, field in config_fields().items() if field.metadata["makes_dataset"]}


@pytest.mark.parametrize("name", ["recipe.json", "recipe.flags"])
def test_recipe_makes_the_same_dataset_from_a_moved_copy(data: DataConfig, tmp_path: pathlib.Path, name: str) -> None:
    recipe = recipe_of(data)
    path = tmp_path / name
    path.write_text(recipe_text(recipe, as_flags=name.endswith(".flags")))
    shutil.move(tmp_path / "data", tmp_path / "moved")
    (tmp_path / "map.json").unlink()
    config = ExperimentConfig.of(dataset=f"recipe:{path}", data_dir=str(tmp_path / "moved"), batch_size=8)
    dataset = open_dataset(resolve_recipe(config).data)
    assert (dataset.id, dataset.name) == (recipe["dataset_id"], recipe["dataset_name"])


def test_recipe_of_a_run_is_found_by_the_run(data: DataConfig, tmp_path: pathlib.Path) -> None:
    run = create_run(tmp_path / "store", "a1b2c3d4" + "0" * 24, name="run", config=ExperimentConfig())
    (run.path / "dataset").mkdir()
    (run.path / RECIPE_FILE).write_text(recipe_text(recipe_of(data)))
    config = ExperimentConfig.of(dataset="recipe:a1b2", store=str(tmp_path / "store"))
    assert resolve_recipe(config).data.split_method == "hash"
    with pytest.raises(RunNotFoundError):
        resolve_recipe(config.replace(dataset="recipe:beef"))


def test_data_that_has_changed_is_refused(data: DataConfig, tmp_path: pathlib.Path) -> None:
    (tmp_path / "recipe.json").write_text(recipe_text(recipe_of(data)))
    next((tmp_path / "data" / "one" / "3").iterdir()).unlink()
    config = ExperimentConfig.of(dataset=f"recipe:{tmp_path / 'recipe.json'}", batch_size=8)
    with pytest.raises(DataError, match=r"has the ID .*, but dataset_id=.* was given"):
        open_dataset(resolve_recipe(config).data)


def test_field_that_differs_from_the_recipe_is_refused(data: DataConfig, tmp_path: pathlib.Path) -> None:
    (tmp_path / "recipe.json").write_text(recipe_text(recipe_of(data)))
    config = ExperimentConfig.of(dataset=f"recipe:{tmp_path / 'recipe.json'}", split_seed=6)
    with pytest.raises(ConfigError, match=r"split_seed=6 \(the recipe has 5\): leave that out"):
        resolve_recipe(config)


def test_map_of_classes_is_written_out_in_the_config(data: DataConfig) -> None:
    config = ExperimentConfig.of(class_map=data.class_map)
    assert resolve_recipe(config).data.class_map == '{"two/9": null}'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"dataset": "digits", "splitseed": 1}', "unknown field 'splitseed': did you mean split_seed"),
        ("--dataset=digits\n--nonsense=1\n", "unknown field 'nonsense'"),
        ("--dataset=digits\nsome text\n", "line 2 of recipe .* is not --name=value"),
        ("--dataset=digits\n--split_seed=x\n", "line 2 of recipe .*: split_seed cannot be 'x'"),
        ('{"dataset": ', "not valid JSON"),
        ("{}", "names no dataset"),
        ("", "names no dataset"),
        ('{"a":' * 10_000, "not valid JSON"),
        ("x" * 1_000_001, "too large"),
    ],
)
def test_what_is_no_recipe_is_refused(tmp_path: pathlib.Path, text: str, message: str) -> None:
    (tmp_path / "recipe").write_text(text)
    with pytest.raises(ConfigError, match=message):
        resolve_recipe(ExperimentConfig.of(dataset=f"recipe:{tmp_path / 'recipe'}"))


def test_paths_start_from_the_folder_that_holds_them_all_and_names_stay() -> None:
    data = DataConfig(dataset="folder:one+keras:mnist+npz:/data/deep/two.npz*2+digits", data_dir="/data")
    recipe = make_recipe(data, dataset_name="all", dataset_id="0" * 16, split_method="hash")
    assert (recipe["dataset"], recipe["data_dir"]) == ("folder:one+keras:mnist+npz:deep/two.npz*2+digits", "/data")


def test_what_a_plug_in_reads_is_left_as_it_was_given() -> None:
    data = DataConfig(dataset="of_a_plugin:x/y+folder:one", data_dir="/data")
    with SOURCES.override("of_a_plugin", lambda spec, *, data_dir: None):
        recipe = make_recipe(data, dataset_name="all", dataset_id="0" * 16, split_method="hash")
    assert (recipe["dataset"], recipe["data_dir"]) == (data.dataset, "/data")
