"""Fingerprints of files against `b2sum`, the opening of a folder, and a manifest of a million rows.

The files of the fingerprint are JPEG photographs of about 190 KB with different last bytes. All files are in the page
cache.
"""

import io
import json
import os
import pathlib
import shutil
import subprocess
import sys
from collections.abc import Sequence
from unittest import mock

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images

from dlexp.datasets.images import scan
from tests.benchmarks.measuring import Row, interleave, run_process, seconds_of

_NUM_FILES, _SIDE, _QUALITY, _REPEATS = 20_000, 640, 95, 2
_SLOWEST_S, _MOST_MB = 10, 1024
_NUM_SMALL = 100_000
_OPEN_BY_KERAS = """
import sys, time, keras
started = time.perf_counter()
keras.utils.image_dataset_from_directory(sys.argv[1], image_size=(8, 8), verbose=False)
print(time.perf_counter() - started)
"""
_OPEN_BY_DLEXP = """
import sys, time
from dlexp.config.sections import DataConfig
from dlexp.datasets import open_dataset
started = time.perf_counter()
open_dataset(DataConfig(dataset=f"folder:{sys.argv[1]}"))
print(time.perf_counter() - started)
"""
_MANIFEST = """
import json, pathlib, time
import numpy as np, pandas as pd
from dlexp.datasets import splits
from dlexp.datasets.dataset import dataset_id
from dlexp.datasets.sources.source import build_manifest

generator = np.random.default_rng(0)
count = 1_000_000
digests = [generator.bytes(16).hex() for _ in range(count)]
labels = generator.integers(0, 1000, count)
manifest = build_manifest("photos", labels=labels, digests=digests, shapes=np.full((count, 3), 224))
started = time.perf_counter()
manifest["split"] = splits.stratified(manifest, split_seed=0, validation_fraction=0.1, test_fraction=0.2)
dataset_id(manifest, [str(label) for label in range(1000)])
seconds = time.perf_counter() - started
status = pathlib.Path("/proc/self/status").read_text()
peak = int(status.split("VmHWM:")[1].split()[0]) / 1024
print(json.dumps({"seconds": seconds, "peak_mb": peak}))
"""


def measure(folder: str) -> list[Row]:
    """Returns the rows of the table."""
    files = write_photos(pathlib.Path(folder, "photos"))
    with mock.patch.dict(os.environ, DLEXP_CACHE=str(pathlib.Path(folder, "cache"))):
        return [
            *_compare_fingerprints(str(pathlib.Path(folder, "photos")), files),
            *_compare_openings(pathlib.Path(folder)),
            *_measure_manifest(),
        ]


def write_photos(root: pathlib.Path) -> list[str]:
    """Writes the files, and returns their names."""
    photo, contents = Image.fromarray(load_sample_images().images[0]), io.BytesIO()
    photo.resize((_SIDE, _SIDE)).save(contents, "JPEG", quality=_QUALITY)
    root.mkdir()
    names = [f"{number:05d}.jpg" for number in range(_NUM_FILES)]
    for name in names:
        # Text before the last two bytes, which mark the end of the image: decoders ignore it.
        (root / name).write_bytes(contents.getvalue()[:-2] + name.encode() + contents.getvalue()[-2:])
    return names


def _compare_fingerprints(root: str, files: Sequence[str]) -> list[Row]:
    def read_all() -> float:
        return seconds_of(lambda: scan.scan_files(root, files, reread=True))

    sides = {"first": read_all, "b2sum": lambda: seconds_of(lambda: _b2sum(root, files))}
    seconds = {side: min(repeats) for side, repeats in interleave(sides, repeats=_REPEATS).items()}
    again = min(seconds_of(lambda: scan.scan_files(root, files)) for _ in range(_REPEATS))
    first, peer = seconds["first"], seconds["b2sum"]
    return [
        Row(
            f"fingerprint of {_NUM_FILES:,} files, s",
            first,
            peer,
            "`b2sum` on both cores",
            "< 1.25",
            first < 1.25 * peer,
        ),
        Row("the same a second time, s", again, first, "the first time", "< 0.05", again < 0.05 * first, digits=3),
    ]


def _compare_openings(folder: pathlib.Path) -> list[Row]:
    """Opens a folder of small files in fresh processes: by Keras, by dlexp for the first time, and again."""
    root, cache = folder / "small", folder / "cache-of-small"
    write_small_images(root)

    def seconds(code: str, *, forget: bool = False) -> float:
        if forget:
            shutil.rmtree(cache, ignore_errors=True)
        with mock.patch.dict(os.environ, DLEXP_CACHE=str(cache)):
            return float(run_process([sys.executable, "-c", code, str(root)]))

    sides = {
        "keras": lambda: seconds(_OPEN_BY_KERAS),
        "first": lambda: seconds(_OPEN_BY_DLEXP, forget=True),
        "again": lambda: seconds(_OPEN_BY_DLEXP),
    }
    least = {side: min(repeats) for side, repeats in interleave(sides, repeats=_REPEATS).items()}
    peer, name = least["keras"], "`image_dataset_from_directory`"
    what = f"opening {_NUM_SMALL:,} files"
    return [
        Row(f"{what} the first time, s", least["first"], peer, name, "< 4", least["first"] < 4 * peer),
        Row(f"{what} again, s", least["again"], peer, name, "< 1.5", least["again"] < 1.5 * peer),
    ]


def write_small_images(root: pathlib.Path) -> None:
    """Writes PNG files of 8x8, all different, in ten class folders."""
    generator = np.random.default_rng(0)
    for number in range(_NUM_SMALL):
        path = root / str(number % 10) / f"{number:06d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(path)


def _b2sum(root: str, files: Sequence[str]) -> None:
    names = "\0".join(files).encode()
    command = ["xargs", "-0", "-P", "2", "-n", "500", "b2sum", "-l", "128"]
    subprocess.run(command, input=names, stdout=subprocess.DEVNULL, check=True, cwd=root)


def _measure_manifest() -> list[Row]:
    report = json.loads(run_process([sys.executable, "-c", _MANIFEST]))
    seconds, peak = report["seconds"], report["peak_mb"]
    return [
        Row("1,000,000 rows: split and ID, s", seconds, _SLOWEST_S, "aim", "< 10 s", seconds < _SLOWEST_S),
        Row("1,000,000 rows: peak memory, MB", peak, _MOST_MB, "aim", "< 1 GB", peak < _MOST_MB, digits=0),
    ]
