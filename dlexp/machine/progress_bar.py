"""Shows the progress of long work outside training: a bar on a terminal, nothing elsewhere."""

import sys
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

Item = TypeVar("Item")
Batch = TypeVar("Batch", bound=Sized)


def track(items: Iterable[Item], total: int, doing: str) -> Iterator[Item]:
    """Yields the items; if stderr is a terminal, shows there how many of the total are done.

    Args:
        items: the items to yield.
        total: number of items.
        doing: text that names the work, such as "reading images".
    """
    if not sys.stderr.isatty():
        yield from items
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn(doing), BarColumn(bar_width=20), MofNCompleteColumn(), TimeRemainingColumn(compact=True)
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield from progress.track(items, total=total)


def count(batches: Iterable[Batch], doing: str) -> Iterator[Batch]:
    """Yields the batches; if stderr is a terminal, shows there how many items they had so far.

    Args:
        batches: the batches to yield; their number is not known.
        doing: text that names the work, such as "predicting".
    """
    if not sys.stderr.isatty():
        yield from batches
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = SpinnerColumn(), TextColumn(doing), TextColumn("{task.completed:,}"), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(doing, total=None)
        for batch in batches:
            yield batch
            progress.advance(task, len(batch))
