"""A page in one file that works offline: nothing is loaded, nothing is sent, and text of any origin stays text.

A page is a title and sections, and a section is blocks: HTML that the functions here and those of `charts` return.
Everything that they are given is escaped. A policy in the page allows its own two scripts and no request.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from toolkit.display.findings import MARKS, WORDS
from toolkit.display.palette import DARK, LIGHT
from toolkit.display.tables import Table
from toolkit.display.visible import visible
from toolkit.files import as_json
from toolkit.findings import LEVELS, Finding, Level

ASSETS = "assets"


@dataclass(frozen=True)
class Tile:
    """A figure that is to be seen first, with what it is and, smaller, what it is compared with."""

    label: str
    value: str
    note: str = ""
    level: Level | None = None
    """Colours the value; the mark of the level stands before it."""


@dataclass(frozen=True)
class Passage:
    """A text with line ends and blanks as they are, such as a completion, under a heading."""

    heading: str
    text: str
    note: str = ""
    level: Level | None = None


@dataclass(frozen=True)
class Section:
    """A part of a page, with its own line in the navigation."""

    title: str
    blocks: Sequence[Markup]
    note: str = ""
    """One sentence below the title."""


@dataclass(frozen=True)
class Page:
    """What `render` writes."""

    title: str
    sections: Sequence[Section]
    lead: str = ""
    """One or two sentences below the title."""
    made: str = ""
    """Where its figures come from, at the foot: versions, device, date."""
    script: str = ""
    """JavaScript of this kind of page; runs when the page is there, after the script that all pages share."""
    style: str = ""


def render(page: Page) -> str:
    """The page as HTML; `render(page).encode()` never fails."""
    names = _anchors(section.title for section in page.sections)
    scripts = [_asset("page.js"), *([page.script] if page.script else [])]
    html = _templates().get_template("page.html.j2").render(
        page=page,
        sections=list(zip(names, page.sections, strict=True)),
        style=Markup(_palette_css() + _asset("page.css") + page.style),  # noqa: S704  # files of the package
        scripts=[Markup(script) for script in scripts],  # noqa: S704
        hashes=[_hash(script) for script in scripts],
    )  # fmt: skip
    return visible(html)


def text(words: str) -> Markup:
    """A paragraph."""
    return Markup("<p>{}</p>").format(words)


def note(words: str) -> Markup:
    """A paragraph that is read after the rest."""
    return Markup('<p class="note">{}</p>').format(words)


def code(command: str) -> Markup:
    """Something to copy: a command, a setting."""
    return Markup('<pre class="code"><code>{}</code></pre>').format(command)


def tiles(given: Iterable[Tile]) -> Markup:
    """Figures side by side, as many in a row as there is room for."""
    return _block("tiles", given=list(given))


def grid(*blocks: Markup) -> Markup:
    """Blocks side by side where there is room, such as charts."""
    return Markup('<div class="grid">{}</div>').format(Markup("").join(blocks))


def details(summary: str, *blocks: Markup, is_open: bool = False) -> Markup:
    """Blocks behind a line that opens them; on paper they are open."""
    opened = Markup(" open") if is_open else ""
    body = Markup("").join(blocks)
    return Markup("<details{}><summary>{}</summary>{}</details>").format(opened, summary, body)


def table(given: Table, key: str, caption: str = "") -> Markup:
    """A table that a click on a heading sorts, and a field above it filters.

    `key`: a word of its own in the page, under which the order and the filter stand in a shared link.
    """
    return _block("table", body=Markup(given.html()), key=key, caption=caption)  # noqa: S704  # escapes its texts


def findings(given: Sequence[Finding]) -> Markup:
    """Findings, the worst first: level, what was found and wanted, and what to do."""
    ordered = sorted(given, key=lambda finding: LEVELS.index(finding.level), reverse=True)
    return _block("findings", given=ordered)


def side_by_side(passages: Iterable[Passage]) -> Markup:
    """Texts next to one another, one below the other on a phone; long ones scroll, and on paper stand whole."""
    return _block("passages", given=list(passages))


def data(key: str, value: Any) -> Markup:
    """A JSON value for the page's own script: `dataOf(key)`."""
    return _block("data", key=key, value=as_json(value))


def _block(name: str, **values: Any) -> Markup:
    return getattr(_templates().get_template("blocks.html.j2").module, name)(**values)


@lru_cache(maxsize=1)
def _templates() -> Environment:
    environment = Environment(
        loader=PackageLoader("toolkit.display", ASSETS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"words": WORDS, "marks": {level: marks[0] for level, marks in MARKS.items()}}
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "ensure_ascii": True, "allow_nan": False}
    return environment


def _asset(name: str) -> str:
    return files("toolkit.display").joinpath(ASSETS, name).read_text(encoding="utf-8")


def _palette_css() -> str:
    """The colours as variables; paper is white whatever the screen prefers."""
    light, dark = ("".join(f"--{name}:{colour};" for name, colour in colours.items()) for colours in (LIGHT, DARK))
    return f":root{{{light}}}\n@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}\n"


def _hash(script: str) -> str:
    """How a Content-Security-Policy names a script (W3C, CSP level 3)."""
    return f"sha256-{base64.b64encode(hashlib.sha256(visible(script).encode()).digest()).decode()}"


def _anchors(titles: Iterable[str]) -> list[str]:
    """A name for each section, as its fragment has it: `Reward by step` becomes `reward-by-step`."""
    names: list[str] = []
    for title in titles:
        plain = re.sub(r"\W+", "-", title.lower()).strip("-") or "section"
        taken = sum(1 for name in names if name == plain or name.startswith(f"{plain}--"))
        names.append(f"{plain}--{taken + 1}" if taken else plain)
    return names
