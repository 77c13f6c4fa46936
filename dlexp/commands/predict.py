"""`dlexp predict`: writes the classes and probabilities of images, by a checkpoint, as CSV or Parquet."""

import contextlib
import itertools
import pathlib
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from dlexp.checkpoints.metadata import read_metadata
from dlexp.checkpoints.names import KINDS
from dlexp.checkpoints.search import find_checkpoint
from dlexp.config.command import Command, CommandLine, Positionals
from dlexp.config.spelling import parse_names
from dlexp.datasets.images.paths import LeftOutCounter, check_words, find_images, images_at, read_list
from dlexp.errors import ConfigError, DataError, InterruptedRunError, unknown_name
from dlexp.machine.console import EXIT_FAILED
from dlexp.machine.progress_bar import count
from dlexp.machine.signals import StopRequests, catch_signals
from dlexp.machine.startup import importing_tensorflow
from dlexp.plugins import load_plugins

_STDIN = "-"
_FLAGS: dict[str, tuple[Any, str]] = {
    "output": ("predictions.csv", "File to write: CSV if it ends with .csv, Parquet if it ends with .parquet."),
    "top_k": (0, "Write the K most probable classes instead of the probability of every class; 0: of every class."),
    "probabilities": (True, "Write the probability of every class; if false, only the most probable class."),
    "from_file": ("", "File with more images and folders, separated by newlines or NUL."),
    "strict": (
        False,
        "Exit with 1 if a file cannot be read or is an image in a format that is not read; the predictions for all "
        "others are still written.",
    ),
    "batch_size": (0, "Images per batch; 0: as many as passed the network at once in training."),
    "kind": ("best", "Which checkpoint of a run: best or last."),
    "store": ("mlruns", "Folder of the runs."),
    "plugins": ("", "Python files or modules that define layers of the model; empty: the plug-ins of its run."),
    "num_workers": (0, "Number of images decoded in parallel; 0: one per core."),
}
_DESCRIPTION = """Images are decoded as in training.

RUN is a run ID or the start of one, a name, a folder, or latest; PATH is a checkpoint file. FOLDER means all images in
and below it, a quoted PATTERN such as '**/*.jpg' all files that match it, and - a list of paths on stdin. Files that
cannot be read are reported on stderr and left out; other files in a folder are counted by kind."""


class Unreadable:
    """Reports each file that cannot be read, and counts them."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, path: str, reason: str) -> None:
        self.count += 1
        print(f"dlexp: {path!r} cannot be read: {reason}", file=sys.stderr)


def _predict(line: CommandLine) -> int:
    from dlexp.evaluation.prediction_file import check_prediction_file

    options, (reference, *images) = line.options, line.positionals
    output = pathlib.Path(options["output"])
    check_prediction_file(output)
    checkpoint = _find_checkpoint(reference, options)
    left_out = LeftOutCounter()
    with _open_images(images, options["from_file"], left_out) as paths:
        return _predict_images(checkpoint, paths, output, options, left_out)


def _find_checkpoint(reference: str, options: Mapping[str, Any]) -> pathlib.Path:
    """Finds the checkpoint, checks the options against it, and loads the plug-ins that its layers need."""
    from dlexp.evaluation.prediction_file import check_top_k

    if options["kind"] not in KINDS:
        raise unknown_name("kind", options["kind"], KINDS)
    path = find_checkpoint(reference, options["store"], kind=options["kind"])
    metadata = read_metadata(path)
    check_top_k(options["top_k"], metadata["class_names"])
    given = parse_names(options["plugins"])
    with importing_tensorflow():
        load_plugins(given or (metadata["config"]["plugins"] if metadata["custom_layers"] else ()))
    return path


@contextlib.contextmanager
def _open_images(words: Sequence[str], list_file: str, left_out: LeftOutCounter) -> Iterator[Iterator[str]]:
    """Yields the paths of all images that were named, and keeps the files that list some of them open meanwhile.

    While the paths are iterated over, what lies in the folders but is left out is counted.

    Raises:
        DataError: a path does not exist, or there is no image.
    """
    check_words(word for word in words if word != _STDIN)
    if _STDIN in words and sys.stdin.isatty():
        raise ConfigError(
            "- reads a list of paths from stdin, which is a terminal: find photos -print0 | dlexp predict ..."
        )
    with contextlib.ExitStack() as files:
        found: list[Iterable[str]] = []
        for word in words:
            is_list = word == _STDIN
            found.append(_listed(sys.stdin.buffer, left_out) if is_list else find_images([word], left_out=left_out))
        if list_file:
            try:
                found.append(_listed(files.enter_context(open(list_file, "rb")), left_out))
            except OSError as err:
                raise DataError(f"from_file={list_file!r} cannot be read: {err.strerror}") from err
        paths = itertools.chain.from_iterable(found)
        first = next(paths, None)
        if first is None:
            where = ", ".join(map(repr, [*words, *filter(None, [list_file])]))
            others = _describe_left_out(left_out)
            raise DataError(
                f"there is no image in {where}{others and f', only {others}'}: name images or folders of them"
            )
        yield itertools.chain([first], paths)


def _listed(file: Any, left_out: LeftOutCounter) -> Iterator[str]:
    for path in read_list(file):
        yield from images_at(path, left_out)


def _describe_left_out(left_out: LeftOutCounter, *, severities: Iterable[str] = ()) -> str:
    from dlexp.datasets.sources.left_out import group_left_out, left_out_text

    return left_out_text(group_left_out(left_out), severities=severities)


@contextlib.contextmanager
def _stopping_as_ctrl_c() -> Iterator[StopRequests]:
    """Catches signals while the block runs, those of a batch system too; each ends the block as Ctrl-C does."""
    try:
        with catch_signals() as requests, requests.defer():
            yield requests
    except InterruptedRunError as err:
        raise KeyboardInterrupt from err


def _predict_images(
    checkpoint: pathlib.Path,
    paths: Iterator[str],
    output: pathlib.Path,
    options: Mapping[str, Any],
    left_out: LeftOutCounter,
) -> int:
    # TensorFlow is imported only after all checks that do not need it.
    with importing_tensorflow():
        from dlexp.evaluation.image_prediction import predict_images
        from dlexp.evaluation.prediction_file import write_predictions
    chosen = {name: options[name] for name in ("top_k", "probabilities", "batch_size", "num_workers")}
    unreadable, images = Unreadable(), 0

    def note_unreadable(path: str, reason: str) -> None:
        unreadable(path, reason)
        requests.check()

    # Signals are checked between batches: while Keras traces, it swallows every exception of a signal handler.
    with _stopping_as_ctrl_c() as requests, write_predictions(output) as file:
        for table in count(predict_images(checkpoint, paths, on_unreadable=note_unreadable, **chosen), "predicting"):
            requests.check()
            file.write(table)
            images += len(table)
    failed = f", {unreadable.count:,} file(s) could not be read" if unreadable.count else ""
    print(f"{images:,} image(s) predicted{failed}", file=sys.stderr)
    if left_out:
        print(f"left out: {_describe_left_out(left_out)}", file=sys.stderr)
    print(output)
    is_lacking = unreadable.count or _describe_left_out(left_out, severities=("error",))
    return EXIT_FAILED if options["strict"] and is_lacking else 0


COMMAND = Command(
    run=_predict,
    example="latest photos",
    description=_DESCRIPTION,
    positionals=Positionals(
        usage="RUN|PATH IMAGE|FOLDER|PATTERN ...",
        meaning="a run or a checkpoint, and images",
        least=2,
        most=None,
        replaced_by="from_file",
    ),
    flags=_FLAGS,
)
