"""A map of words as one page: Bokeh draws, zooms and hovers; `map_page.js` finds and lights up.

A `WordMap` enters, HTML leaves, in which everything is: Bokeh's scripts, the words, their places
and neighbors. The page forbids itself every connection. Equal maps made by the first page of a
process give equal bytes; later ones differ in Bokeh's numbering of its parts.

Legend: N = words on the map.
"""

import html
import json
from importlib.resources import files
from string import Template

import numpy as np
from bokeh.core.properties import value
from bokeh.embed import json_item
from bokeh.models import ColumnDataSource, HoverTool, Plot, Range1d, TapTool, WheelZoomTool
from bokeh.plotting import figure
from bokeh.resources import Resources
from numpy.typing import NDArray

from w2v.colors import BLUE, GRAY, INK, SKY, VERMILLION
from w2v.wordmap import WordMap

Floats = NDArray[np.float32]

# Nothing is fetched from anywhere; Bokeh makes styles and pictures itself.
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data: blob:; font-src data:"
)
HINT = (
    "Drag to move, turn the wheel to zoom, point at a word to see its count and neighbors, click "
    "it to light them up. Lit are the nearest by cosine in all dimensions"
)
SMALLEST_PX, LARGEST_PX, PLAIN_PX = 4.0, 11.0, 6.0  # diameter of a dot, by the word's count
MARGIN = 0.05  # around the outermost words, of their distance
NUM_HOVERED = 5  # neighbors that pointing at a word shows; selecting it shows all
COSINE_DECIMALS = 4


def page(map: WordMap) -> str:
    """The page of a map, as HTML in which no word can be taken for anything but text."""
    item = json.dumps(json_item(_plot(map)), ensure_ascii=False, allow_nan=False)
    return Template(_part("map_page.html")).substitute(
        policy=POLICY,
        title=html.escape(map.title),
        hint=html.escape(f"{HINT}; {_explained(map)}."),
        bokeh=Resources(mode="inline", components=["bokeh"], log_level="warn").render_js(),
        map=item.replace("<", "\\u003c"),  # neither </script> nor <!-- can be in it
        script=_part("map_page.js"),
    )


def _part(name: str) -> str:
    return files("w2v").joinpath(name).read_text("utf-8")


def _explained(map: WordMap) -> str:
    if map.projection.method == "tsne":
        return "on this plane, made by t-SNE, neighbors stay together and distances mean nothing"
    share = sum(map.projection.share_C)
    return f"this plane, of two principal components, shows {share:.0%} of the variance"


def _plot(map: WordMap) -> Plot:
    """The dots; their data are called `words`, what `map_page.js` fills `lit` and `labels`."""
    x_N, y_N = map.projection.xy_N2.astype(np.float32).T
    plot = figure(
        name="plot",
        tools="pan,box_zoom,reset,save",
        x_range=_around(x_N),
        y_range=_around(y_N),
        sizing_mode="stretch_both",
        toolbar_location="right",
        tags=[VERMILLION, BLUE, GRAY, INK],
    )
    plot.axis.visible = plot.grid.visible = False
    plot.outline_line_color = GRAY
    words = ColumnDataSource(_columns(map, x_N, y_N), name="words")
    dots = plot.scatter(
        *("x", "y"),
        source=words,
        size="size",
        color=SKY,
        alpha=0.7,
        selection_color=VERMILLION,
        selection_alpha=1.0,
        nonselection_color=GRAY,
        nonselection_alpha=0.25,
    )
    lit, labels = (
        ColumnDataSource({"x": [], "y": [], "word": [], "color": []}, name=name)
        for name in ("lit", "labels")
    )
    plot.scatter("x", "y", source=lit, size=10, color="color")
    plot.text(
        *("x", "y", "word"),
        source=labels,
        text_color="color",
        text_font=value("sans-serif"),
        text_font_size="12px",
        text_baseline="middle",
        x_offset=6,
    )
    shown = [("word", "@word"), ("seen", "@count{0,0} times"), ("nearest", "@hovered")]
    known = shown if map.counts is not None else [shown[0], shown[2]]
    wheel = WheelZoomTool()
    plot.add_tools(wheel, TapTool(renderers=[dots]), HoverTool(renderers=[dots], tooltips=known))
    plot.toolbar.active_scroll = wheel
    plot.toolbar.logo = None  # it is a link that leaves the page
    return plot


def _columns(map: WordMap, x_N: Floats, y_N: Floats) -> dict[str, object]:
    near = [[word for word, _ in found] for found in map.near]
    columns: dict[str, object] = {
        "x": x_N,
        "y": y_N,
        "word": list(map.words),
        "near": near,
        "cosines": [[round(cosine, COSINE_DECIMALS) for _, cosine in found] for found in map.near],
        "hovered": [", ".join(words[:NUM_HOVERED]) for words in near],
        "size": [PLAIN_PX] * len(map.words),
    }
    if map.counts is not None:
        log_N = np.log1p(np.array(map.counts, np.float64))
        share_N = (log_N - log_N.min()) / max(float(np.ptp(log_N)), 1e-9)
        sizes_N = SMALLEST_PX + (LARGEST_PX - SMALLEST_PX) * share_N
        columns |= {"count": list(map.counts), "size": sizes_N.round(1).tolist()}
    return columns


def _around(places_N: Floats) -> Range1d:
    first, last = float(places_N.min()), float(places_N.max())
    margin = MARGIN * (last - first) or 1.0
    return Range1d(start=first - margin, end=last + margin)
