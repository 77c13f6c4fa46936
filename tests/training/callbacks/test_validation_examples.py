"""The same validation examples after every epoch."""

import json
import pathlib

import pandas as pd

from dlexp.runs.run import Run
from dlexp.training.callbacks.validation_examples import choose_examples, read_epochs, read_predictions


def test_same_validation_examples_are_noted_after_every_epoch(run: Run) -> None:
    table = read_predictions(run.path / "samples/validation_examples.jsonl")
    by_epoch = [each["key"].tolist() for _, each in table.groupby("epoch")]
    assert len(by_epoch) == 3
    assert by_epoch[0] == by_epoch[1] == by_epoch[2]
    assert set(table["label"]) == set(range(10))
    assert table["probability_of_label"].between(0, 1).all()


def test_validation_examples_come_from_each_class_in_turn() -> None:
    labels, splits = [0] * 5 + [1] * 2 + [2] * 3, ["validation"] * 9 + ["train"]
    manifest = pd.DataFrame({"key": [f"{n:02d}" for n in range(10)], "label": labels, "split": splits})
    assert choose_examples(manifest, most=7).tolist() == [0, 1, 2, 5, 6, 7, 8]


def test_epoch_that_a_kill_cut_short_is_removed_from_the_record(tmp_path: pathlib.Path) -> None:
    lines = [json.dumps({"epoch": epoch, "key": key}) for epoch in (1, 2) for key in "ab"]
    record = tmp_path / "examples.jsonl"
    record.write_text("\n".join(lines[:3]) + "\n" + lines[3][:5])
    assert read_epochs(record) == {1}
    assert read_predictions(record)["epoch"].tolist() == [1, 1]
