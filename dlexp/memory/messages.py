"""What a probe is asked to do, and what it reports; both travel as JSON."""

import dataclasses
import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class ProbeRequest:
    """One measurement, which a separate process makes.

    Attributes:
        config: JSON text of the config to train.
        folder: working directory, which paths in the config may be relative to.
        store: folder of the store that the run of the probe is written to.
        log_path: file that the process prints to.
        device: `cpu`, `gpu` or `gpu:N`.
        limit_bytes: memory that the process may use.
        whole_run: evaluate the best checkpoint and write the report too, as a training does at its end.
        timed_calls: how many calls of the train function are timed, while all other probes stand still; 0: none.
    """

    config: str
    folder: str
    store: str
    log_path: str
    device: str
    limit_bytes: int
    whole_run: bool
    timed_calls: int


@dataclass(frozen=True, kw_only=True)
class ProbeReport:
    """What a probe has measured.

    Attributes:
        training_bytes: peak memory of the training and its validation.
        whole_bytes: peak memory of the whole run; that of the training if the rest was not run.
        is_training_only: the rest was not run.
        images_per_second: of training, after the first step; 0 if it was not timed.
        num_parameters: parameters of the model.
        estimated_bytes: the analytic estimate of this training.
        estimated_bytes_per_example: by the analytic estimate, what one example more needs.
    """

    training_bytes: int
    whole_bytes: int
    is_training_only: bool
    images_per_second: float
    num_parameters: int
    estimated_bytes: int
    estimated_bytes_per_example: int


def encode(kind: str, message: Any = None) -> bytes:
    """Returns a message as JSON: a word, and a dataclass or JSON value."""
    return json.dumps([kind, dataclasses.asdict(message) if dataclasses.is_dataclass(message) else message]).encode()  # type: ignore[arg-type]


def decode(data: bytes) -> tuple[str, Any]:
    """Reads what `encode` returned; a dataclass becomes a dict."""
    kind, message = json.loads(data)
    return kind, message
