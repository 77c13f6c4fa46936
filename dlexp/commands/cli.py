"""The `dlexp` command: picks a command, defines only its flags, imports only its module."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dlexp.config.help import HELP_WORDS
from dlexp.errors import unknown_name
from dlexp.machine.console import is_debug, leave, report_errors

if TYPE_CHECKING:
    import pandas as pd

SUMMARIES = {
    "train": "train one model and record everything",
    "evaluate": "score a checkpoint on any dataset and split",
    "predict": "classes and probabilities of images, by a checkpoint",
    "runs": "list, filter and sort runs",
    "checkpoints": "list, filter and sort checkpoint files",
    "data": "describe, show, check and verify datasets",
    "sweep": "train many models over a space of flags, side by side",
    "sync": "bring MLflow and other trackers up to date from the run folders",
    "ui": "look at the runs of a store in the MLflow UI or in TensorBoard",
}
_USAGE = """dlexp: train a hundred Keras models, and know which one is best.

usage: dlexp COMMAND [--flag=value ...]

commands:
{commands}

dlexp COMMAND --help lists the flags of a command; --flagfile=PATH reads them from a file.
dlexp --version prints the version.
First steps: dlexp train --epochs=5, then dlexp runs."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        argv: program name, command and flags; the process's own by default.

    Returns:
        The exit code: 0 done, 1 failed, 2 wrong usage.
    """
    words = list(sys.argv if argv is None else argv)[1:]
    if not words or words[0] in ("help", *HELP_WORDS):
        print(usage())
        return 0
    if words[0] == "--version":
        from importlib.metadata import version

        print(f"dlexp {version('dlexp')}")
        return 0
    return report_errors(lambda: _run_command(words[0], words[1:]), debug=is_debug(words))


def usage() -> str:
    """The help text of `dlexp` itself."""
    commands = "\n".join(f"  {name:<13}{summary}" for name, summary in SUMMARIES.items())
    return _USAGE.format(commands=commands)


def _run_command(command: str, words: Sequence[str]) -> int:
    if command not in SUMMARIES:
        raise unknown_name("command", command, SUMMARIES)
    argv = [f"dlexp {command}", *words]
    if command == "train":
        from dlexp.main import train

        return train(argv)
    if command == "evaluate":
        from dlexp.commands.evaluate import evaluate

        return evaluate(argv)
    if command == "data":
        from dlexp.commands.data import data

        return data(argv)
    if command == "predict":
        from dlexp.commands.predict import predict

        return predict(argv)
    if command == "sweep":
        from dlexp.commands.sweep import sweep

        return sweep(argv, summary=SUMMARIES[command])
    if command == "sync":
        from dlexp.commands.sync import sync

        return sync(argv, summary=SUMMARIES[command])
    return {"runs": _list_runs, "checkpoints": _list_checkpoints, "ui": _open_ui}[command](argv)


def _list_runs(argv: Sequence[str]) -> int:
    values = _parse(argv, _LISTING_FLAGS | {"sort_by": ("-started", "Column; with - in front the largest come first.")})
    if values is None:
        return 0
    from dlexp.runs.store import list_runs

    table = list_runs(values["store"], where=values["where"], sort_by=values["sort_by"])
    return _print_listing(table, values, columns=_RUN_COLUMNS, nothing="no runs", hint="train one with dlexp train")


def _list_checkpoints(argv: Sequence[str]) -> int:
    own = {
        "kind": ("", "best or last; empty: both."),
        "sort_by": ("-written", "Column; with - in front the largest come first."),
        "verify": (False, "Read every byte of every file; exit with 1 if one is damaged."),
        "prune": (False, "List the files of ended runs that newer ones stand for, then remove them."),
    }
    values = _parse(argv, _LISTING_FLAGS | own)
    if values is None:
        return 0
    if values["prune"]:
        return _prune_checkpoints(values["store"])
    from dlexp.checkpoints.search import list_checkpoints

    chosen = {name: values[name] for name in ("kind", "where", "sort_by", "verify")}
    table = list_checkpoints(values["store"], **chosen)
    _print_listing(
        table, values, columns=_CHECKPOINT_COLUMNS, nothing="no checkpoints", hint="dlexp runs lists what was trained"
    )
    return int(values["verify"] and not table.empty and bool((table["damaged"] != "").any()))


def _prune_checkpoints(store: str) -> int:
    from dlexp.checkpoints.search import find_superseded

    paths = find_superseded(store)
    megabytes = sum(path.stat().st_size for path in paths) / 1e6
    for path in paths:
        print(path)
    for path in paths:
        path.unlink(missing_ok=True)
    print(f"removed {len(paths)} superseded files, {megabytes:.1f} MB", file=sys.stderr)
    return 0


def _open_ui(argv: Sequence[str]) -> int:
    own = {
        "store": _LISTING_FLAGS["store"],
        "port": (5000, "Port on 127.0.0.1."),
        "tensorboard": (False, "Open TensorBoard instead of the MLflow UI."),
    }
    values = _parse(argv, own)
    if values is None:
        return 0
    import contextlib
    import signal
    import threading

    from dlexp.tracking.ui import serve_mlflow, serve_tensorboard

    serve = serve_tensorboard if values["tensorboard"] else serve_mlflow
    print("starting the server; Ctrl-C stops it", file=sys.stderr)
    # Stopped either way, the server must go too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt), serve(values["store"], port=values["port"]) as url:
        print(url, flush=True)
        threading.Event().wait()
    return 0


_LISTING_FLAGS: dict[str, tuple[Any, str]] = {
    "store": ("mlruns", "Folder of the runs."),
    "where": ("", "A pandas query over the columns: \"test_accuracy > 0.9 and model == 'resnet20'\"."),
    "format": ("table", "table (for people), json (a list of flat objects) or csv; the last two have every column."),
}
_RUN_COLUMNS = (
    "run_id", "name", "status", "started", "model", "dataset_name", "epochs", "learning_rate", "best_epoch",
    "val_accuracy", "test_accuracy",
)  # fmt: skip
_CHECKPOINT_COLUMNS = ("kind", "run_id", "epoch", "monitor", "score", "test_accuracy", "megabytes", "name", "damaged")


def _parse(argv: Sequence[str], definitions: dict[str, tuple[Any, str]]) -> dict[str, Any] | None:
    """Reads the flags of a command; None if it was asked for help, which is then printed."""
    from absl import flags

    from dlexp.config.flags import define_flags, parse_flags
    from dlexp.config.help import command_help

    if any(word in HELP_WORDS for word in argv[1:]):
        print(command_help(argv[0], SUMMARIES[argv[0].split()[-1]], definitions))
        return None
    values = flags.FlagValues()
    define_flags(values, definitions)
    parse_flags(values, argv)
    return {name: values[name].value for name in values}


def _print_listing(
    table: "pd.DataFrame", values: dict[str, Any], *, columns: Sequence[str], nothing: str, hint: str
) -> int:
    from dlexp.commands.tables import write_table

    if table.empty:
        matching = " that match" if values["where"] else ""
        print(f"{nothing}{matching} in store {values['store']!r}: {hint}", file=sys.stderr)
    elif values["format"] == "table":
        short = {"run_id": 8, "started": 16}
        table = table.assign(**{name: table[name].str[:width] for name, width in short.items() if name in table})
    write_table(table, output_format=values["format"], columns=columns)
    return 0


def run() -> None:
    """Entry point of the console script."""
    leave(main())


if __name__ == "__main__":
    run()
