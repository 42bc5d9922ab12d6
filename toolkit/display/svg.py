"""A chart of matplotlib as SVG inside a page: small, in the page's colours and font, with ids of its own."""

from __future__ import annotations

import hashlib
import io
import re
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from markupsafe import Markup

from toolkit.display.palette import LIGHT
from toolkit.display.visible import visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_VARIABLES = {colour: f"var(--{name})" for name, colour in LIGHT.items()}
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # texts stay texts: small, and found by a search in the page
    "text.parse_math": False,
    "font.size": 9,
    **{f"axes.spines.{side}": False for side in ("top", "right", "left")},
    "axes.edgecolor": LIGHT["grey"],
    "axes.labelcolor": LIGHT["grey"],
    "text.color": LIGHT["ink"],
    "xtick.color": LIGHT["grey"],
    "ytick.color": LIGHT["grey"],
    "xtick.bottom": False,
    "ytick.left": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": LIGHT["line"],
    "axes.formatter.useoffset": False,
}
_NO_METADATA = dict.fromkeys(("Date", "Creator", "Format", "Type"))
_USUAL = {
    "font-size: 9px",
    "stroke-linecap: square",
    "stroke-linejoin: miter",
    "stroke-dashoffset: 0",
    "stroke-width: 1",
}
"""What the page's style sheet says for every chart, or what makes no difference to see."""


def draw(fill: Callable[[Axes], None], alt: str, size: tuple[float, float]) -> Markup:
    """An `<svg>` of `size` inches that `fill` draws into; `alt` tells it in words.

    Colours of the palette become the page's variables, so `fill` takes them from `palette.LIGHT` or `COLOURS`.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure  # without pyplot: no display, and nothing kept

    with rc_context(_STYLE), warnings.catch_warnings():
        # the width of a sign that matplotlib's font lacks is guessed; the page's font has it
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure = Figure(figsize=size, layout="constrained")
        fill(figure.subplots())
        return embedded(figure, alt)


def embedded(figure: Figure, alt: str) -> Markup:
    """The figure as an `<svg>` for a page; one that was made under other settings needs `svg.fonttype: none`."""
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        text.set_text(visible(text.get_text()))  # type: ignore[attr-defined]  # findobj gives what it was asked for
    out = io.StringIO()
    figure.savefig(out, format="svg", transparent=True, metadata=_NO_METADATA)
    root = ElementTree.fromstring(out.getvalue())  # noqa: S314  # what matplotlib has just written
    _strip(root)
    key = hashlib.sha256(f"{visible(alt)}{ElementTree.tostring(root)}".encode()).hexdigest()[:8]
    _own_ids(root, key)
    root.attrib = {"class": "chart", "role": "img", "aria-label": visible(alt), "viewBox": root.attrib["viewBox"]}
    return Markup(ElementTree.tostring(root, encoding="unicode"))  # noqa: S704  # ElementTree escapes its texts


def _strip(parent: ElementTree.Element) -> None:
    """Leave out what a page has no use for: namespaces, fonts, decimals, line ends, invisible paths, empty groups."""
    parent.tag = _local(parent.tag)
    parent.text, parent.tail = (parent.text, None) if parent.tag == "text" else (None, None)
    parent.attrib = {_local(name): _short(_local(name), value) for name, value in parent.attrib.items()}
    for child in list(parent):
        _strip(child)
        is_unseen = child.attrib.get("style") == "fill: none" and child.tag == "path"
        is_empty = child.tag in ("g", "defs") and len(child) == 0
        if is_unseen or is_empty or child.tag == "style":
            parent.remove(child)
        elif child.tag == "g" and child.attrib.keys() <= {"id"}:  # matplotlib refers to no group
            i = list(parent).index(child)
            parent[i : i + 1] = list(child)
    marks = parent.findall("use")
    if len({mark.attrib.get("style") for mark in marks}) == 1 and len(marks) == len(parent):
        parent.set("style", marks[0].attrib["style"])  # said once for all of them
        for mark in marks:
            del mark.attrib["style"]


def _local(name: str) -> str:
    return name.rpartition("}")[2]


def _short(name: str, value: str) -> str:
    """An attribute's value without what the page's style sheet says of every chart."""
    if name == "style":
        parts = [part.strip() for part in value.split(";")]
        kept = (re.sub(r"^font: ([\d.]+px).*", r"font-size: \1", part) for part in parts)
        kept = (part for part in kept if part not in _USUAL and not part.startswith("font-family"))
        value = "; ".join(
            re.sub(r"#[0-9a-f]{6}", lambda found: _VARIABLES.get(found[0], found[0]), part) for part in kept
        )
    n_digits = 2 if name == "style" else 1  # a tenth of a point is less than a pixel
    if name in ("d", "x", "y", "width", "height", "transform", "style"):
        value = re.sub(r"-?\d+\.\d{2,}", lambda found: f"{float(found[0]):.{n_digits}f}".rstrip("0").rstrip("."), value)
    if name == "d":
        value = re.sub(r"\s*\n?([A-Za-z]) ?", r"\1", value).strip()
    return "" if name == "transform" and value.startswith("rotate(-0 ") else value


def _own_ids(root: ElementTree.Element, key: str) -> None:
    """Keep the ids that something refers to, as `cKEY-1`, `cKEY-2`, so that charts of one page never share one."""
    used: dict[str, str] = {}
    for element in root.iter():
        for name, value in element.attrib.items():
            found = re.fullmatch(r"url\(#(.+)\)|#(.+)", value) if name in ("clip-path", "href") else None
            if found:
                own = used.setdefault(found[1] or found[2], f"c{key}-{len(used) + 1}")
                element.set(name, f"url(#{own})" if found[1] else f"#{own}")
    for element in root.iter():
        if "id" in element.attrib:
            own = used.get(element.attrib.pop("id"))
            if own:
                element.set("id", own)
        if element.attrib.get("transform") == "":
            del element.attrib["transform"]
