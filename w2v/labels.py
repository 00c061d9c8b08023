"""Words beside their points, as many as fit: no label covers another one.

Axes with their limits set, places and words enter; the labels are drawn, the first words first.
"""

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

GAP, FAR_GAP = 4.0, 14.0  # points between a dot and its label, and where that is not free
# Where a label may stand: the direction from the dot, the nicest first.
SIDES = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1))
DIAGONAL = 0.7  # how far a label goes each way, to be as far away in all
_ALIGN_X: dict[int, Literal["left", "center", "right"]] = {1: "left", 0: "center", -1: "right"}
_ALIGN_Y: dict[int, Literal["bottom", "center", "top"]] = {1: "bottom", 0: "center", -1: "top"}


class Label(NamedTuple):
    """A word at a place, and how it looks."""

    text: str
    xy: tuple[float, float]
    color: str
    size: float
    weight: str = "normal"
    must: bool = False  # drawn even where there is no room


def place_labels(
    axes: Axes, labels: Sequence[Label], *, dots: Sequence[tuple[float, float]] = ()
) -> int:
    """Draws each label on the first side of its dot that is free, else not at all.

    Args:
        axes: in a figure whose layout will not move any more.
        labels: the most important first.
        dots: places that no label may cover.

    Returns how many were drawn.
    """
    figure = axes.get_figure(root=True)
    if figure is None:
        raise AssertionError("axes are in a figure")
    renderer: RendererAgg = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
    frame = axes.get_window_extent(renderer)
    radius = figure.dpi / 72  # of a dot, in pixels
    taken = _Boxes(len(labels) + len(dots))
    for x, y in axes.transData.transform(np.reshape(dots, (-1, 2))):
        taken.add(Bbox.from_extents(x - radius, y - radius, x + radius, y + radius))
    drawn = 0
    for label in labels:
        text = axes.annotate(
            *(label.text, label.xy),
            xytext=(0, 0),
            textcoords="offset points",
            color=label.color,
            fontsize=label.size,
            fontweight=label.weight,
        )
        for offset in _offsets(far=label.must):
            box = _moved(text, offset, renderer)
            inside = frame.containsx(box.x0) and frame.containsx(box.x1)
            if (
                inside
                and frame.containsy(box.y0)
                and frame.containsy(box.y1)
                and taken.is_free(box)
            ):
                break
        else:
            if not label.must:
                text.remove()
                continue
            box = _moved(text, (GAP, 0.0), renderer)
        taken.add(box)
        drawn += 1
    return drawn


def _offsets(*, far: bool) -> Iterator[tuple[float, float]]:
    """Where a label may stand beside its dot, in points."""
    for gap in (GAP, FAR_GAP) if far else (GAP,):
        for side_x, side_y in SIDES:
            reach = gap * (DIAGONAL if side_x and side_y else 1.0)
            yield reach * side_x, reach * side_y


def _moved(text: Annotation, offset: tuple[float, float], renderer: RendererAgg) -> Bbox:
    """Puts a label beside its dot; returns the box that it takes, in pixels."""
    text.set_position(offset)
    text.set_horizontalalignment(_ALIGN_X[int(np.sign(offset[0]))])
    text.set_verticalalignment(_ALIGN_Y[int(np.sign(offset[1]))])
    return text.get_window_extent(renderer)


class _Boxes:
    """Boxes on the picture, in pixels."""

    def __init__(self, most: int) -> None:
        self._edges: NDArray[np.float64] = np.empty((most, 4))
        self._num = 0

    def add(self, box: Bbox) -> None:
        self._edges[self._num] = box.extents
        self._num += 1

    def is_free(self, box: Bbox) -> bool:
        """Whether it touches none of them."""
        x0, y0, x1, y1 = self._edges[: self._num].T
        touches = (x0 < box.x1) & (box.x0 < x1) & (y0 < box.y1) & (box.y0 < y1)
        return not touches.any()
