"""Builds the report of a comparison: one HTML file that needs no network; its tables sort when a heading is clicked."""

import pathlib
import tempfile

from dlexp.comparison.compare import Comparison
from dlexp.comparison.pictures import draw_pictures
from dlexp.comparison.tables import tabulate_for_people, tabulate_groups
from dlexp.errors import StoreError
from dlexp.machine.atomic import write_text_atomically
from dlexp.reports.page import embed_picture, render_page

_CAPTIONS = {
    "intervals": "Every run (rings), the mean of its group (points) and the 95 % interval of the mean (bars).",
    "curves": "Validation over the epochs: the mean over the runs of a group, and their range.",
    "cost": "Quality beside cost: median duration of a training, and parameters of the model.",
    "classes": "Difference of the recall on the test split, by class: the best other group minus the baseline.",
}


def write_page(comparison: Comparison, path: pathlib.Path) -> None:
    """Writes the report.

    Args:
        comparison: of the runs.
        path: of the file; it is replaced.

    Raises:
        StoreError: the file cannot be written.
    """
    with tempfile.TemporaryDirectory(prefix="dlexp-comparison-") as folder:
        pictures = draw_pictures(comparison, pathlib.Path(folder))
        images = {name: embed_picture(picture, _CAPTIONS[name]) for name, picture in pictures.items()}
    page = render_page(
        "dlexp.comparison",
        "page.html",
        comparison=comparison,
        numbers=tabulate_groups(comparison).to_dict("records"),
        texts=tabulate_for_people(comparison).to_dict("records"),
        images=images,
    )
    try:
        write_text_atomically(path, page)
    except OSError as err:
        raise StoreError(f"report {str(path)!r} cannot be written: {err.strerror}: choose another --output") from err
