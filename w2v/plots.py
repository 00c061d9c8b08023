"""Pictures by matplotlib: the loss, the lengths of sentences, the map of words.

Arrays enter, a `Figure` leaves, which `canvas.save` writes. One look for all, colors that the
color-blind can tell apart, and legends beside the data, never on it.

Legend: S = sentences, B = bins.
"""

from collections.abc import Sequence
from itertools import cycle
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from w2v.canvas import DOTS_PER_INCH, style
from w2v.colors import BLUE, COLORS, GRAY, INK, VERMILLION
from w2v.labels import Label, place_labels
from w2v.metrics import Curve, Point
from w2v.wordmap import WordMap

if TYPE_CHECKING:  # it needs torch, and pictures do not
    from w2v.lengths import Lengths

WIDE, SQUARE = (8.0, 5.0), (10.0, 8.0)  # inches
MARKERS = "osD^vPX"
MOST_BINS = 50
TAIL = 99.9  # percent; where the longest sentence is TAIL_FACTOR times longer, the axis ends there
TAIL_FACTOR = 2.0

Ints = NDArray[np.int32]
Style = dict[str, object]

# How each kind of loss is drawn, in the color and with the marker of its run.
WITHIN: Style = {"linewidth": 1.0, "alpha": 0.6, "marker": ".", "markersize": 3}
ENDS: Style = {"linewidth": 1.8, "markersize": 5}
HELDOUT: Style = {"linewidth": 1.8, "markersize": 5, "linestyle": "--", "markerfacecolor": "white"}


def loss_figure(curves: Sequence[Curve]) -> Figure:
    """The loss of runs over the epochs: reports within them, their ends, the held-out loss."""
    with style([curve.name for curve in curves]):
        figure = Figure(figsize=WIDE)
        axes = figure.add_subplot()
        looks = [
            {"color": color, "marker": marker}
            for _, color, marker in zip(curves, cycle(COLORS), cycle(MARKERS), strict=False)
        ]
        for curve, look in zip(curves, looks, strict=True):
            for epoch in _by_epoch(curve.points):
                axes.plot(*_places(epoch), **{**look, **WITHIN})  # type: ignore[arg-type]
            axes.plot(*_places(curve.ends), **look, **ENDS)  # type: ignore[arg-type]
            heldout = [(point.epoch, point.heldout_loss) for point in curve.heldout]
            axes.plot(*np.reshape(heldout, (-1, 2)).T, **look, **HELDOUT)  # type: ignore[arg-type]
        axes.set(xlabel="epochs", ylabel="loss (masked binary cross-entropy)", title=_title(curves))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(axis="y", color=GRAY, alpha=0.2)
        handles = _legend(curves, looks)
        columns = min(len(handles), 3)
        figure.legend(handles=handles, loc="outside lower center", ncols=columns)
        return figure


def _title(curves: Sequence[Curve]) -> str:
    return f"{curves[0].name}: loss" if len(curves) == 1 else f"Loss of {len(curves)} runs"


def _by_epoch(points: Sequence[Point]) -> list[list[Point]]:
    """The reports of each epoch; the loss begins anew with every one."""
    epochs: list[list[Point]] = [[]]
    for point in points:
        epochs[-1].append(point)
        if point.ended:
            epochs.append([])
    return epochs


def _places(points: Sequence[Point]) -> NDArray[np.float64]:
    return np.reshape([(point.epoch, point.loss) for point in points], (-1, 2)).T


def _legend(curves: Sequence[Curve], looks: Sequence[dict[str, str]]) -> list[Line2D]:
    """A line for each run, where there are several, and one for each kind of loss that is there."""
    several = len(curves) > 1
    look = {"color": GRAY, "marker": "o"} if several else looks[0]
    kinds: list[tuple[bool, str, Style]] = [
        (any(not p.ended for c in curves for p in c.points), "in the epoch so far", WITHIN),
        (any(curve.ends for curve in curves), "of the epoch", ENDS),
        (any(curve.heldout for curve in curves), "held-out", HELDOUT),
    ]
    handles = [
        Line2D([], [], label=curve.name, **each, **ENDS)  # type: ignore[arg-type]
        for curve, each in zip(curves, looks, strict=True)
        if several
    ]
    return handles + [
        Line2D([], [], label=label, **{**look, **kind})  # type: ignore[arg-type]
        for there, label, kind in kinds
        if there
    ]


def lengths_figure(lengths: "Lengths", *, name: str) -> Figure:
    """How many sentences have how many words, before and after subsampling, on the same axes."""
    before_S, after_S = lengths
    limit, longer = _limit(before_S)
    width = max(1, -(-(limit + 1) // MOST_BINS))
    edges_B = np.arange(0, limit + 1 + width, width)
    with style([name]):
        figure = Figure(figsize=WIDE)
        axes = figure.add_subplot()
        for lengths_S, when, color in ((before_S, "before", BLUE), (after_S, "after", VERMILLION)):
            counts_B, _ = np.histogram(lengths_S, edges_B)
            label = f"{when} subsampling: {lengths_S.mean():.1f} words on average"
            axes.stairs(counts_B, edges_B, fill=True, color=color, alpha=0.35)
            axes.stairs(counts_B, edges_B, color=color, linewidth=1.5, label=label)
        per_bin = f" ({width} to a bar)" if width > 1 else ""
        axes.set(
            xlabel=f"words in vocabulary per sentence{per_bin}{longer}",
            ylabel="sentences",
            title=f"{name}: length of {len(before_S):,} sentences",
            xlim=(0, edges_B[-1]),
        )
        axes.yaxis.set_major_formatter(FuncFormatter(lambda count, _: f"{count:,.0f}"))
        axes.grid(axis="y", color=GRAY, alpha=0.2)
        figure.legend(loc="outside lower center", ncols=2)
        return figure


def _limit(lengths_S: Ints) -> tuple[int, str]:
    """Where the axis ends, and what to say where a few sentences are much longer."""
    longest, most = int(lengths_S.max()), int(np.percentile(lengths_S, TAIL))
    if longest <= TAIL_FACTOR * most:
        return longest, ""
    return most, f"; {(lengths_S > most).sum():,} have more, up to {longest:,}"


def map_figure(map: WordMap) -> Figure:
    """Words on a plane, labeled as far as labels fit; named words and their neighbors stand out."""
    xy_N2, named, lit = map.projection.xy_N2, map.num_named, map.num_named + map.num_neighbors
    colors = [VERMILLION] * named + [BLUE] * map.num_neighbors + [GRAY] * (len(map.words) - lit)
    with style(map.words):
        figure = Figure(figsize=SQUARE, dpi=DOTS_PER_INCH)
        axes = figure.add_subplot()
        axes.scatter(xy_N2[:, 0], xy_N2[:, 1], c=colors, s=12, linewidths=0, alpha=0.8, zorder=3)
        axes.set_title(map.title)
        axes.margins(0.06)
        if map.projection.method == "pca":
            for number, share in enumerate(map.projection.share_C):
                label = f"principal component {number + 1} ({share:.0%} of the variance)"
                (axes.set_xlabel, axes.set_ylabel)[number](label)
            axes.set_aspect("equal", adjustable="datalim")
        else:
            axes.set_xlabel("t-SNE: neighbors stay together; distances and axes mean nothing")
            axes.set(xticks=[], yticks=[])
        axes.spines[:].set(visible=True, color=GRAY, linewidth=0.5)
        figure.draw_without_rendering()  # so that the layout is settled
        figure.set_layout_engine("none")
        place_labels(axes, _labels(map), dots=[tuple(xy) for xy in xy_N2[:lit]])
        return figure


def _labels(map: WordMap) -> list[Label]:
    labels = []
    for i, (word, (x, y)) in enumerate(zip(map.words, map.projection.xy_N2, strict=True)):
        if i < map.num_named:
            labels.append(Label(word, (x, y), VERMILLION, size=11, weight="bold", must=True))
        elif i < map.num_named + map.num_neighbors:
            labels.append(Label(word, (x, y), BLUE, size=9, must=True))
        else:
            labels.append(Label(word, (x, y), INK, size=8))
    return labels
