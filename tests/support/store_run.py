"""Writes `stored_run.zip`: a run that another version of dlexp has trained, for the tests of what stays readable.

The zip in git was written with the code of commit c9b9d9f, before its modules moved into packages. To write it again:

    git worktree add /tmp/old c9b9d9f
    PYTHONPATH=/tmp/old python tests/support/store_run.py --module=dlexp.cli

It holds the run after two epochs, without pictures, and `reference.json`: what the same training gives when it runs
through to a third epoch, and on which processor.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import zipfile

STORED_RUN = pathlib.Path(__file__).with_name("stored_run.zip")
# Everything that keeps a state over epochs: moving average, plateau, early stopping, dropout, an added metric.
FLAGS = (
    "--model=mlp", '--model_args={"hidden_sizes": [8], "dropout": 0.2}', "--learning_rate=0.02", "--weight_decay=0.01",
    "--ema_decay=0.9", "--lr_schedule=plateau", "--plateau_patience=1", "--early_stopping_patience=3", "--augment=crop",
    "--metrics=F1Score", "--batch_size=128", "--num_threads=1", "--notensorboard", "--nosystem_metrics",
    "--nosample_pictures", "--nomlflow_autolog", "--verbose=0",
)  # fmt: skip
_KEPT = ("*.json", "*.jsonl", "*.flags", "*.keras", "*.parquet")
_LEFT_OUT = ("predictions.parquet", "machine.json")


def processor() -> str:
    """The instruction sets of this processor: results are equal bit for bit only where these are."""
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    return next(line.partition(":")[2].strip() for line in lines if line.startswith("flags"))


def main() -> None:
    """Trains twice and writes the zip."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--module", required=True, help="module of the dlexp command in the version on PYTHONPATH")
    module = parser.parse_args().module
    with tempfile.TemporaryDirectory() as folder:
        stored = _train(module, pathlib.Path(folder, "two"), epochs=2)
        reference = _train(module, pathlib.Path(folder, "three"), epochs=3)
        record = json.loads((reference / "run.json").read_text())
        expected = {name: record[name] for name in ("weights_digest", "metrics", "best_epoch")}
        with zipfile.ZipFile(STORED_RUN, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
            archive.writestr("reference.json", json.dumps(expected | {"processor": processor()}, indent=2))
            archive.writestr("points.jsonl", (reference / "metrics.jsonl").read_text())
            for path in sorted({path for pattern in _KEPT for path in stored.rglob(pattern)}):
                if path.name not in _LEFT_OUT:
                    archive.write(path, pathlib.Path("run", path.relative_to(stored)))


def _train(module: str, store: pathlib.Path, *, epochs: int) -> pathlib.Path:
    command = [sys.executable, "-m", module, "train", *FLAGS, f"--epochs={epochs}", f"--store={store}"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return pathlib.Path(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
