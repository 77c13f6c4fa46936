"""What `dlexp data` prints."""

import csv
import io
import json
import pathlib
import shutil
import struct
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from dlexp import ExperimentConfig, run_experiment
from dlexp.commands.cli import main
from dlexp.datasets.images import scan
from dlexp.runs.run import CONFIG_FILE, RECIPE_FILE, Run
from tests.support.image_folders import write_digits_folder


def call(*words: str) -> int:
    return main(["dlexp", "data", *words])


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    return write_digits_folder(tmp_path / "photos", 100)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run on photos/, which is in the folder of its store."""
    root = tmp_path_factory.mktemp("trained")
    values: dict[str, Any] = {"model": "mlp", "epochs": 1, "batch_size": 8, "verbose": 0, "tensorboard": False}
    photos = write_digits_folder(root / "photos", 100)
    return run_experiment(ExperimentConfig.of(dataset=f"folder:{photos}", store=str(root / "store"), **values)).run


@pytest.fixture
def run_folder(trained: Run, folder: pathlib.Path, tmp_path: pathlib.Path) -> pathlib.Path:
    """A copy of the run, on a copy of its photos."""
    root = trained.path.parents[3]
    copy = tmp_path / trained.path.relative_to(root)
    shutil.copytree(trained.path, copy)
    for path in (copy / CONFIG_FILE, copy / RECIPE_FILE):
        path.write_text(path.read_text().replace(str(root), str(tmp_path)))
    return copy


def test_help_lists_the_subcommands_and_their_flags(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--help") == 0
    assert "verify" in capsys.readouterr().out
    assert call("describe", "--help") == 0
    assert "--split_method=auto" in capsys.readouterr().out


def test_describe_tells_id_counts_and_channels(folder: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("describe", f"folder:{folder}", "--format=json") == 0
    reported = json.loads(capsys.readouterr().out)
    assert (reported["name"], reported["examples"], reported["image_shape"]) == ("photos", 100, [8, 8, 1])
    assert sum(reported["counts"].values()) == 100
    assert sum(reported["counts_by_class"]["3"].values()) > 0
    assert reported["sizes"] == {"8x8": 100}
    assert 0 < reported["channels"]["mean"][0] < 255


def test_describe_for_people_shows_shares(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("describe", "digits*2") == 0
    out = capsys.readouterr().out
    assert "1,797 examples of 8x8x1 in 10 classes" in out
    assert "179 (10.0%)" in out


def test_describe_names_unequal_classes_and_the_ways_out(
    folder: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in sorted((folder / "3").iterdir())[4:]:
        path.unlink()
    assert call("describe", f"folder:{folder}") == 0
    out = capsys.readouterr().out
    assert "times as many training examples as 3" in out
    assert "--class_weights=balanced" in out
    assert "--sampling=balanced" in out


def test_dataset_that_cannot_be_trained_on_is_described(
    folder: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("L", (30, 20)).save(folder / "3" / "large.png")
    assert call("describe", f"folder:{folder}", "--format=json") == 0
    assert json.loads(capsys.readouterr().out)["sizes"] == {"8x8": 100, "20x30": 1}


def test_samples_are_drawn_to_the_file_that_is_named_last(
    folder: pathlib.Path, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "grid.png"
    assert call("samples", f"folder:{folder}", f"--output={path}", "--per_class=3") == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(path)
    with Image.open(path) as picture:
        assert picture.format == "PNG"


def test_verify_says_yes_for_the_same_data(run_folder: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("verify", str(run_folder)) == 0
    assert "every byte was read" in capsys.readouterr().out


def test_verify_names_what_was_changed_removed_damaged_and_added(
    run_folder: pathlib.Path, folder: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed, removed, damaged = sorted((folder / "1").iterdir())[:3]
    Image.new("L", (8, 8), 77).save(changed)
    removed.unlink()
    damaged.write_bytes(damaged.read_bytes()[:-20])
    Image.new("L", (8, 8), 99).save(folder / "1" / "added.png")
    assert call("verify", str(run_folder), "--format=json") == 1
    differences = {row["key"]: row["difference"] for row in json.loads(capsys.readouterr().out)}
    assert differences[f"1/{changed.name}"] == "content has changed"
    assert differences[f"1/{removed.name}"] == "is gone"
    assert differences[f"1/{damaged.name}"].startswith("cannot be read: ")
    assert differences["1/added.png"] == "is new"


def test_verify_does_not_believe_what_is_remembered_of_a_file(
    run_folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scan, "_read_cache", lambda cache: pytest.fail("the cached facts were read"))
    assert call("verify", str(run_folder)) == 0


def test_verify_as_csv_has_a_line_for_every_difference(
    run_folder: pathlib.Path, folder: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    next(folder.rglob("*.png")).unlink()
    assert call("verify", str(run_folder), "--format=csv") == 1
    header, difference = capsys.readouterr().out.splitlines()
    assert header == "key,difference"
    assert difference


def test_verify_finds_what_no_example_shows(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = np.random.default_rng(0).integers(0, 256, (40, 4, 4), np.uint8)
    arrays: dict[str, Any] = {"x": images, "y": np.arange(40) % 2}
    np.savez(tmp_path / "a.npz", class_names=np.array(["cat", "dog"]), **arrays)
    values: dict[str, Any] = {"model": "mlp", "epochs": 1, "batch_size": 8, "verbose": 0, "tensorboard": False}
    config = ExperimentConfig.of(dataset=f"npz:{tmp_path / 'a.npz'}", store=str(tmp_path / "store"), **values)
    run = run_experiment(config).run
    assert call("verify", str(run.path)) == 0
    np.savez(tmp_path / "a.npz", class_names=np.array(["dog", "cat"]), **arrays)
    assert call("verify", str(run.path)) == 1
    assert "the dataset: class names, or which examples share a source, have changed" in capsys.readouterr().out


def test_verify_needs_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("verify", "digits") == 2
    assert "needs a run" in capsys.readouterr().err


def test_run_is_described_by_its_own_config(run_folder: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("describe", str(run_folder), "--format=json") == 0
    recorded = json.loads((run_folder / "run.json").read_text())
    assert json.loads(capsys.readouterr().out)["id"] == recorded["dataset_id"]


def test_recipe_of_a_run_trains_on_the_same_dataset(run_folder: pathlib.Path, tmp_path: pathlib.Path) -> None:
    config = ExperimentConfig.of(
        dataset=f"recipe:{run_folder}", model="mlp", epochs=1, batch_size=8, verbose=0, tensorboard=False,
        store=str(tmp_path / "store"),
    )  # fmt: skip
    again = run_experiment(config).run.record()
    recorded = json.loads((run_folder / "run.json").read_text())
    assert (again["dataset_id"], again["weights_digest"]) == (recorded["dataset_id"], recorded["weights_digest"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("describe",), "needs a dataset or a run"),
        (("descrbe", "digits"), "did you mean describe"),
        (("describe", "digits", "more"), "'more' is not a flag"),
        (("describe", "nonsense"), "no run 'nonsense'"),
        (("describe", "folde:photos"), "unknown source 'folde': did you mean folder?"),
        (("describe", "digits", "--format=xml"), "unknown format 'xml'"),
        (("describe", "digits", "--format=csv"), "use table or json"),
        (("verify", "latest", "--format=xml"), "unknown format 'xml'"),
        (("samples", "digits", "--per_class=0"), "--per_class=0 must be 1 or more"),
        (("pack", "digits", "--shard_mb=0"), "--shard_mb=0 must be 1 or more"),
    ],
)
def test_wrong_words_are_told_in_one_sentence(
    words: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str], tmp_path: pathlib.Path
) -> None:
    assert call(*words, f"--store={tmp_path}") == 2
    assert message in capsys.readouterr().err


def test_check_lists_what_is_planted_and_nothing_else(folder: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(folder / "1" / "0001.png", folder / "2" / "contradiction.png")
    (folder / "3" / "cut.png").write_bytes((folder / "3" / "0003.png").read_bytes()[:-20])
    assert call("check", f"folder:{folder}", "--format=json") == 0
    found = {(row["check"], *row["keys"]) for row in json.loads(capsys.readouterr().out)}
    assert found == {("damaged", "3/cut.png"), ("conflicting_labels", "1/0001.png", "2/contradiction.png")}
    assert call("check", f"folder:{folder}", "--strict") == 1


def test_check_names_every_key_to_scripts_and_five_to_people(
    folder: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copies = [shutil.copy(folder / "1" / "0001.png", folder / "1" / f"copy, {number}.png") for number in range(8)]
    keys = sorted(["1/0001.png", *(f"1/{pathlib.Path(copy).name}" for copy in copies)])
    call("check", f"folder:{folder}", "--format=json")
    (group,) = [row for row in json.loads(capsys.readouterr().out) if row["check"] == "exact_duplicate"]
    assert group["keys"] == keys
    call("check", f"folder:{folder}", "--format=csv")
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["key"] for row in rows if row["finding"] == "0"] == keys
    call("check", f"folder:{folder}")
    assert "1/copy, 3.png and 4 more" in capsys.readouterr().out


def test_check_of_sound_data_is_empty_and_exits_with_0(
    folder: pathlib.Path, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("check", f"folder:{folder}", "--strict", f"--output={tmp_path / 'copies.png'}") == 0
    assert "0 error(s), 0 warning(s)" in capsys.readouterr().err
    assert (tmp_path / "copies.png").is_file()


def test_pack_is_trained_on_like_the_folder(
    folder: pathlib.Path, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("pack", f"folder:{folder}", f"--output={tmp_path / 'photos.pack'}") == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path / "photos.pack")
    assert call("describe", f"pack:{tmp_path / 'photos.pack'}") == 0
    assert "100 examples of 8x8x1" in capsys.readouterr().out


def test_pack_and_description_of_it_show_what_the_folder_left_out(
    folder: pathlib.Path, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "1" / "scan.psd").touch()
    line = "left out: 1 image in a format that is not read (1 .psd)"
    assert call("pack", f"folder:{folder}", f"--output={tmp_path / 'photos.pack'}") == 0
    assert line in capsys.readouterr().err
    assert call("describe", f"pack:{tmp_path / 'photos.pack'}") == 0
    assert line in capsys.readouterr().out


OFFICIAL = {"train": 60, "validation": 20, "test": 30}


def write_official(kind: str, root: pathlib.Path) -> str:
    """Digits in splits of their own; IDX has no validation split. Returns the dataset."""
    digits = load_digits()
    images, labels = np.round(digits.images * (255 / 16)).astype(np.uint8), digits.target
    ends = np.cumsum([0, *OFFICIAL.values()]).tolist()
    parts = {name: (images[a:b], labels[a:b]) for name, a, b in zip(OFFICIAL, ends, ends[1:], strict=False)}
    if kind == "npz":
        arrays = {f"{what}_{name}": part[place] for name, part in parts.items() for place, what in enumerate("xy")}
        np.savez(root / "data.npz", **arrays)
        return f"npz:{root / 'data.npz'}"
    if kind == "idx":
        for name, prefix in (("train", "train"), ("test", "t10k")):
            for what, array in zip(("images-idx3", "labels-idx1"), parts[name], strict=True):
                header = struct.pack(f">I{array.ndim}I", 0x0800 + array.ndim, *array.shape)
                (root / f"{prefix}-{what}-ubyte").write_bytes(header + array.astype(np.uint8).tobytes())
        return f"idx:{root}"
    for name, (pixels, numbers) in parts.items():
        for place, (image, label) in enumerate(zip(pixels, numbers, strict=True)):
            (root / name / str(label)).mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(root / name / str(label) / f"{place}.png")
    return f"folder:{root}"


@pytest.mark.parametrize("kind", ["folder", "npz", "idx"])
def test_official_splits_are_those_of_training_pack_and_verify(
    kind: str, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data").mkdir()
    dataset, counts = write_official(kind, tmp_path / "data"), dict(OFFICIAL)
    if kind == "idx":
        counts |= {"train": 50, "validation": 10}  # one of each class, as a tenth of a class is less
    values: dict[str, Any] = {"model": "mlp", "epochs": 1, "batch_size": 8, "verbose": 0, "tensorboard": False}
    pack = tmp_path / "data.pack"
    assert call("pack", dataset, f"--output={pack}") == 0
    ids = set()
    for number, name in enumerate((dataset, f"pack:{pack}")):
        store = str(tmp_path / f"store-{number}")
        run = run_experiment(ExperimentConfig.of(dataset=name, store=store, **values)).run
        assert run.manifest()["split"].value_counts().to_dict() == counts
        assert call("verify", str(run.path)) == 0
        capsys.readouterr()
        assert call("describe", name) == 0
        assert "official splits are kept: " in capsys.readouterr().out
        ids.add(run.record()["dataset_id"])
    assert len(ids) == 1


def test_verify_of_data_that_has_moved_takes_its_folder_from_data_dir(
    run_folder: pathlib.Path, folder: pathlib.Path, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "elsewhere").mkdir()
    shutil.move(folder, tmp_path / "elsewhere" / "photos")
    assert call("verify", str(run_folder)) == 1
    assert "there is no folder" in capsys.readouterr().err
    assert call("verify", str(run_folder), f"--data_dir={tmp_path / 'elsewhere'}") == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("samples", "--output=x.txt"), "--output=x.txt must end with .png"),
        (("check", "--output=x.pdf"), "--output=x.pdf must end with .png"),
        (("pack", "--output=a_file"), "--output=a_file is a file: give the path of a folder"),
        (("pack", "--output=a_file/pack"), "cannot be written into 'a_file'"),
        (("recipe", "--output=a_folder"), "--output=a_folder is a folder: give the path of a file"),
    ],
)
def test_output_that_cannot_be_written_is_refused_in_one_sentence(
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a_folder").mkdir()
    (tmp_path / "a_file").write_text("x")
    assert call(words[0], "digits", *words[1:]) == 2
    assert message in capsys.readouterr().err
