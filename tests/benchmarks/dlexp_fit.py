"""Runs `dlexp train` unchanged, with a clock as the last callback. Arguments: the flags of the command."""

import sys
from typing import Any
from unittest import mock

from dlexp.machine.startup import importing_tensorflow

with importing_tensorflow():  # as the command does
    # MLflow imports this when it opens a database; here it counts as an import.
    import mlflow.store.tracking.sqlalchemy_store  # noqa: F401

    import dlexp.runs.summary  # noqa: F401
    from dlexp.commands import cli
from dlexp import experiment
from dlexp.training import loop as training
from tests.benchmarks.clock import Clock


def main() -> None:
    """Trains, then prints what the clock measured."""
    clock = Clock()

    def train_with_clock(*arguments: Any, callbacks: Any, **named: Any) -> None:
        training.train_model(*arguments, callbacks=[*callbacks, clock], **named)

    with mock.patch.object(experiment, "train_model", train_with_clock):
        exit_code = cli.main(["dlexp", "train", *sys.argv[1:]])
    if exit_code:
        sys.exit(exit_code)
    clock.print_report()


main()
