"""The report of an evaluation in a real browser, in the width of a desktop screen and of a phone."""

import pathlib
import re

import pytest

from dlexp.runs.store import find_run
from tests.integration.conftest import dlexp, rendered

# Reports the widths of the window and the page in pixels, and the smallest scale that a picture is shown at.
_MEASURE = """<script>
const shares = [...document.images].map(image => image.clientWidth / image.naturalWidth);
parent.postMessage([innerWidth, document.documentElement.scrollWidth, Math.min(...shares)].join(" "), "*");
</script></body>"""
# A frame, because the window of a browser cannot be as narrow as a phone.
_FRAME = """<!doctype html><title>not measured</title>
<script>addEventListener("message", message => { document.title = message.data; });</script>
<iframe src="measured.html" width="%d" height="800" style="border: 0"></iframe>"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A folder with `measured.html`: the report on the test split of digits, with the script that measures it."""
    folder = tmp_path_factory.mktemp("report")
    dlexp("train", "--model=mlp", "--epochs=1", cwd=folder)
    report = find_run("latest", folder / "mlruns").path / "evaluation" / "test" / "report.html"
    (folder / "measured.html").write_text(report.read_text().replace("</body>", _MEASURE))
    return folder


@pytest.mark.parametrize(("width", "least_share"), [(1280, 0.8), (390, 0.54)])
def test_page_never_scrolls_sideways_and_its_pictures_stay_readable(
    folder: pathlib.Path, tmp_path: pathlib.Path, width: int, least_share: float
) -> None:
    frame = folder / f"{width}.html"
    frame.write_text(_FRAME % width)
    measured = re.search("<title>(.*)</title>", rendered(frame.as_uri(), tmp_path))
    assert measured
    page_width, content_width, share = map(float, measured[1].split())
    assert (page_width, content_width) == (width, width)
    assert share >= least_share
