"""Progress of what takes long before a training begins: a bar on a terminal, nothing elsewhere."""

import sys
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

Item = TypeVar("Item")
Batch = TypeVar("Batch", bound=Sized)


def track(items: Iterable[Item], total: int, doing: str) -> Iterator[Item]:
    """Passes items on, and shows on stderr how many of the total are done, if stderr is a terminal.

    Args:
        items: what is waited for, one by one.
        total: how many there will be.
        doing: what is done, such as "reading images".
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
    """Passes batches on, and shows on stderr how many items they had so far, if stderr is a terminal.

    Args:
        batches: what is waited for, one by one; how many there will be is not known.
        doing: what is done, such as "predicting".
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
