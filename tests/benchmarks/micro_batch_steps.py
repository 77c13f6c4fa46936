"""Takes a few training steps and prints their speed and memory. Arguments: flags of `dlexp train`."""

import json
import pathlib
import re
import sys

from dlexp.machine.startup import importing_tensorflow

with importing_tensorflow():
    import tensorflow as tf

from dlexp.config.flags import config_from_words
from dlexp.models.keras_internals import begin_steps, take_steps
from dlexp.training.preparation import prepare
from tests.benchmarks.measuring import seconds_of

_STEPS = 4


def main() -> None:
    """Prints one line of JSON: images_per_second, and the megabytes by which the steps exceed one on a single image."""
    setup = prepare(config_from_words([*sys.argv[1:], "--dataset=digits", "--steps_per_execution=1", "--verbose=0"]))
    model, first = setup.model, next(iter(setup.datasets.train_dataset()))
    specs = setup.datasets.train_dataset().element_spec  # a batch of any size, so that nothing is traced again
    single = tuple(item[:1] for item in first)
    steps = [single, *[first] * (1 + _STEPS)]
    batches = begin_steps(model, tf.data.Dataset.from_generator(lambda: steps, output_signature=specs))
    take_steps(model, batches)
    pathlib.Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from what is resident
    resident = _status("VmRSS")
    take_steps(model, batches)
    seconds = min(seconds_of(lambda: take_steps(model, batches)["loss"].numpy()) for _ in range(_STEPS))
    print(json.dumps({"images_per_second": len(first[0]) / seconds, "megabytes": _status("VmHWM") - resident}))


def _status(field: str) -> float:
    """Returns a number of /proc/self/status in megabytes."""
    status = pathlib.Path("/proc/self/status").read_text(encoding="ascii")
    return int(re.findall(rf"{field}:\s+(\d+) kB", status)[0]) * 1024 / 1e6


main()
