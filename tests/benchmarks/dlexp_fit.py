"""`dlexp train` as it is, with a clock at the end of its callbacks. Arguments: the flags of the command."""

import sys
from typing import Any

import mlflow.store.tracking.sqlalchemy_store  # noqa: F401 - MLflow imports it later, but it is an import all the same

import dlexp.summary  # noqa: F401
from dlexp import cli, experiment
from tests.benchmarks.clock import Clock


def main() -> None:
    clock = Clock()
    train_model = experiment.train_model

    def train_with_clock(*arguments: Any, callbacks: Any, **named: Any) -> None:
        train_model(*arguments, callbacks=[*callbacks, clock], **named)

    experiment.train_model = train_with_clock
    exit_code = cli.main(["dlexp", "train", *sys.argv[1:]])
    if exit_code:
        sys.exit(exit_code)
    clock.print_report()


main()
