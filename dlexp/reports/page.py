"""Renders HTML pages in a common frame; a page is one file with its style and pictures, without network."""

import base64
import functools
import pathlib
from typing import Any

import jinja2
from PIL import Image


def render_page(package: str, template: str, **values: Any) -> str:
    """Renders the HTML text of a page.

    Args:
        package: Python package that holds the template.
        template: name of the file; it extends `frame.html`, and may import the macros of `parts.html`.
            In addition to jinja's filters it can use `number` (four decimals, a dash for None) and `percent`.
        values: what the template shows; text in them is escaped.

    Raises:
        jinja2.UndefinedError: the template names a value that is not given.
    """
    return _environment(package).get_template(template).render(**values)


def embed_picture(path: pathlib.Path, caption: str) -> dict[str, Any]:
    """Reads a PNG file for `picture` of `parts.html`: its bytes in base64, its width in pixels, and its caption."""
    with Image.open(path) as image:
        width = image.width
    return {"data": base64.b64encode(path.read_bytes()).decode("ascii"), "width": width, "caption": caption}


@functools.cache
def _environment(package: str) -> jinja2.Environment:
    folders = [jinja2.PackageLoader(name, package_path="") for name in (package, "dlexp.reports")]
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader(folders),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = _number
    environment.filters["percent"] = lambda value: "" if value is None else f"{value:.2%}"
    return environment


def _number(value: float | None) -> str:
    return "\N{EN DASH}" if value is None else f"{value:.4f}"
