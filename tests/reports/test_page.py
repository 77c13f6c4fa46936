"""The frame of HTML pages: one file, escaped, and strict about what a template names."""

import pathlib
import sys

import jinja2
import numpy as np
import pytest
from PIL import Image

from dlexp.reports.page import embed_picture, render_page

_PAGE = """{% extends "frame.html" %}
{% from "parts.html" import interval, picture %}
{% block title %}{{ title }}{% endblock %}
{% block body %}
<p>{{ value | number }} {{ share.low | percent }} {{ interval(share) }}</p>
{{ picture(images, "curve") }}{{ picture(images, "missing") }}
{% endblock %}
"""


@pytest.fixture
def package(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A Python package that holds the template `page.html`."""
    folder = tmp_path / "package_of_a_page"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "page.html").write_text(_PAGE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, folder.name, raising=False)
    return folder.name


def test_page_has_its_title_its_values_and_its_pictures(package: str, tmp_path: pathlib.Path) -> None:
    Image.fromarray(np.zeros((4, 100), np.uint8)).save(tmp_path / "curve.png")
    images = {"curve": embed_picture(tmp_path / "curve.png", "A curve & more")}
    page = render_page(package, "page.html", title="<b>", value=None, share={"low": 0.25, "high": 0.5}, images=images)
    assert "<title>&lt;b&gt;</title>" in page
    assert "<p>\N{EN DASH} 25.00% 0.2500 to 0.5000</p>" in page
    assert page.count("<img ") == 1
    assert "<figcaption>A curve &amp; more</figcaption>" in page
    assert "--least: 55px" in page


def test_value_that_is_not_given_is_an_error(package: str) -> None:
    with pytest.raises(jinja2.UndefinedError, match="title"):
        render_page(package, "page.html")
