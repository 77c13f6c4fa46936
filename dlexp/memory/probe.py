"""One measurement of memory: a process that trains for a few steps, as `dlexp train` would, and reports its peak."""

import contextlib
import os
import traceback
from collections.abc import Iterator
from multiprocessing.connection import Connection

import tensorflow as tf

from dlexp.config.experiment_config import ExperimentConfig
from dlexp.errors import DlexpError, PrunedError, TrainingError
from dlexp.experiment import run_experiment
from dlexp.machine.forking import end_with_parent, printing_to
from dlexp.machine.resident_files import load_noted_files
from dlexp.memory.messages import ProbeReport, ProbeRequest, decode, encode
from dlexp.memory.short_run import ShortTraining, shorten_config
from dlexp.training.device import use_device
from dlexp.training.memory_estimate import estimate_memory
from dlexp.training.peak_memory import peak_so_far


def work(connection: Connection) -> None:
    """Carries out the request that the pipe holds; sends a report, `no_memory` or `failed`, and ends."""
    os.setsid()
    end_with_parent()
    _, values = decode(connection.recv_bytes())
    request = ProbeRequest(**values)
    os.chdir(request.folder)
    load_noted_files()
    with printing_to(request.log_path):
        try:
            use_device(request.device, limit_bytes=request.limit_bytes)
            connection.send_bytes(encode("report", measure(request, connection)))
        except BaseException as err:  # noqa: BLE001
            # A model of a plug-in may raise anything; its probe fails, and the others continue.
            reason = str(err)
            if not isinstance(err, DlexpError):
                traceback.print_exc()
                reason = f"{type(err).__name__}: {err}"
            connection.send_bytes(encode("no_memory" if _is_out_of_memory(err) else "failed", reason))


def measure(request: ProbeRequest, connection: Connection) -> ProbeReport:
    """Trains for a few steps and returns what they took.

    Raises:
        DlexpError: the training fails, or the system does not report its peak memory.
    """
    config = shorten_config(ExperimentConfig.from_json(request.config), store=request.store)
    short = ShortTraining(
        calls=request.timed_calls,
        measure=peak_so_far,
        whole_run=request.whole_run,
        while_timing=_alone(connection) if request.timed_calls else contextlib.nullcontext(),
    )
    with contextlib.suppress(PrunedError):
        run_experiment(config, callbacks=[short], prepare_setup=short.prepare)
    # The kernel sums its counters only now and then: a later reading of the peak may be 0.2 MB below an earlier one.
    peak = max(short.training_bytes, peak_so_far())
    if not peak:  # unknown, which must not be taken for little
        raise TrainingError(f"the peak memory is not known on {request.device}: give a number as --batch_size")
    model, dataset = short.setup.model, short.setup.datasets.dataset
    estimate = estimate_memory(model, config, dataset.image_shape, dataset.num_classes)
    return ProbeReport(
        training_bytes=short.training_bytes,
        whole_bytes=peak,
        is_training_only=not request.whole_run,
        images_per_second=short.images_per_second,
        num_parameters=model.count_params(),
        estimated_bytes=estimate.at(config.data.batch_size, config.data.micro_batch_size),
        estimated_bytes_per_example=estimate.bytes_per_example,
    )


@contextlib.contextmanager
def _alone(connection: Connection) -> Iterator[None]:
    """Asks the searching process to hold all other probes during the block."""
    connection.send_bytes(encode("hold"))
    connection.recv_bytes()
    try:
        yield
    finally:
        connection.send_bytes(encode("release"))


def _is_out_of_memory(err: BaseException | None) -> bool:
    """Whether an error, or what caused it, is that of an allocator."""
    while err is not None:
        if isinstance(err, (MemoryError, tf.errors.ResourceExhaustedError)):
            return True
        err = err.__cause__ or err.__context__
    return False
