"""The report of a comparison in a browser."""

import pathlib
import re

from dlexp.commands.cli import main
from tests.integration.conftest import rendered
from tests.support.compared_runs import make_run


def rows_of(page: str) -> list[str]:
    """The first cells of the table of groups."""
    table = page[page.index('<table class="sortable">') : page.index("</table>")]
    return re.findall(r'<th scope="row">([^<]+)</th>', table)


def test_click_on_a_heading_sorts_a_table(tmp_path: pathlib.Path) -> None:
    for number, model in enumerate(["mlp", "small_cnn", "resnet20"]):
        for seed in range(3):
            make_run(tmp_path, 0.9 + number / 50 + seed / 500, model=model, seed=seed)
    report = tmp_path / "report.html"
    assert main(["dlexp", "compare", "--where=seed >= 0", f"--store={tmp_path}", f"--output={report}"]) == 0
    best_first = ["model=resnet20", "model=small_cnn", "model=mlp"]
    assert rows_of(rendered(report.as_uri(), tmp_path / "profile")) == best_first

    click = "<script>document.querySelectorAll('table.sortable th button')[2].click()</script>"
    (tmp_path / "clicked.html").write_text(report.read_text().replace("</body>", f"{click}</body>"))
    page = rendered((tmp_path / "clicked.html").as_uri(), tmp_path / "profile")
    assert rows_of(page) == best_first[::-1]
    assert 'aria-sort="ascending"' in page
