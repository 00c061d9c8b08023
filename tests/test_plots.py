"""The pictures: what their axes hold, their files, their fonts, their labels."""

import io
import logging
import struct
import warnings
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from matplotlib import rcParams
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from w2v.canvas import DOTS_PER_INCH, FONT, fonts_for, save, style
from w2v.colors import BLUE, COLORS, INK, VERMILLION
from w2v.labels import Label, place_labels
from w2v.lengths import Lengths
from w2v.metrics import Curve, Point
from w2v.plots import SQUARE, WIDE, lengths_figure, loss_figure, map_figure
from w2v.vectors import WordVectors
from w2v.wordmap import make_map

POINTS = (
    Point(0.5, 0.6, False, None),
    Point(1.0, 0.5, True, 0.55),
    Point(1.5, 0.45, False, None),
    Point(2.0, 0.4, True, 0.53),
)
UGLY = [
    "<a>&\"'",
    "$x$",
    "_",
    "a_b^c",
    "\\frac{1}",
    "中",
    "é",
    "\u0301",
    "🙂",
    "{}",
    "%s",
    "\U000f0000",
]


def drawn_lines(figure):
    (axes,) = figure.axes
    return [[tuple(place) for place in line.get_xydata()] for line in axes.lines]


def legend(figure):
    (found,) = figure.legends
    return [text.get_text() for text in found.get_texts()]


def word_map(words, *, named=(), method="pca", top=100):
    rows = np.random.default_rng(0).normal(size=(len(words), 5))
    return make_map(WordVectors(words, rows), named, name="mine", top=top, k=2, method=method)


def png_size(path):
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", data[16:24])


# loss


def test_a_loss_is_drawn_as_it_was_reported():
    figure = loss_figure([Curve("mine", POINTS)])
    within = [[(0.5, 0.6), (1.0, 0.5)], [(1.5, 0.45), (2.0, 0.4)], []]  # anew in each epoch
    ends, heldout = [(1.0, 0.5), (2.0, 0.4)], [(1.0, 0.55), (2.0, 0.53)]
    assert drawn_lines(figure) == [*within, ends, heldout]
    assert legend(figure) == ["in the epoch so far", "of the epoch", "held-out"]
    assert figure.axes[0].get_title(loc="left") == "mine: loss"


def test_runs_are_told_apart_by_color_and_marker():
    curves = [Curve(f"run {i}", POINTS[1:2]) for i in range(len(COLORS) + 1)]
    figure = loss_figure(curves)
    ends = figure.axes[0].lines[2::4]
    looks = [(line.get_color(), line.get_marker()) for line in ends]
    assert len(set(looks[:-1])) == len(COLORS)
    assert legend(figure)[:-2] == [f"run {i}" for i in range(len(curves))]
    assert legend(figure)[-2:] == ["of the epoch", "held-out"]


def test_a_run_that_has_just_begun_has_a_loss():
    figure = loss_figure([Curve("mine", POINTS[:1])])
    assert legend(figure) == ["in the epoch so far"]


def test_no_legend_lies_on_the_data(tmp_path):
    for figure in (loss_figure([Curve("mine", POINTS)]), lengths_figure(LENGTHS, name="mine")):
        save(figure, tmp_path / "p.png")
        renderer = FigureCanvasAgg(figure).get_renderer()
        frame = figure.axes[0].get_window_extent(renderer)
        assert not figure.legends[0].get_window_extent(renderer).overlaps(frame)


# lengths

LENGTHS = Lengths(np.array([0, 1, 1, 4, 4, 4]), np.array([0, 0, 1, 1, 2, 4]))


def bars(figure):
    """What is filled on the axes: the heights of each histogram, and their edges."""
    data = [patch.get_data() for patch in figure.axes[0].patches if patch.get_fill()]
    return [data.values.tolist() for data in data], data[0].edges.tolist()


def test_lengths_are_counted_on_the_same_axes():
    figure = lengths_figure(LENGTHS, name="mine")
    assert bars(figure) == ([[1, 2, 0, 0, 3], [2, 2, 1, 0, 1]], [0, 1, 2, 3, 4, 5])
    assert legend(figure) == [
        "before subsampling: 2.3 words on average",
        "after subsampling: 1.3 words on average",
    ]
    colors = [patch.get_edgecolor() for patch in figure.axes[0].patches if not patch.get_fill()]
    assert len(set(colors)) == 2


def test_long_sentences_make_wider_bars_and_a_giant_is_told():
    lengths = np.repeat(np.arange(1, 121), 10)
    figure = lengths_figure(Lengths(lengths, lengths // 2), name="mine")
    (before, after), edges = bars(figure)
    assert sum(before) == sum(after) == len(lengths)
    assert len(edges) <= 52
    assert "(3 to a bar)" in figure.axes[0].get_xlabel()
    giant = np.append(lengths, 1_000_000)
    label = lengths_figure(Lengths(giant, giant // 2), name="mine").axes[0].get_xlabel()
    assert label.endswith("; 1 have more, up to 1,000,000")


@pytest.mark.parametrize("lengths", [[0], [1], [0, 0, 5]])
def test_hardly_any_sentences(lengths):
    before, _ = bars(lengths_figure(Lengths(*[np.array(lengths)] * 2), name="mine"))[0]
    assert sum(before) == len(lengths)


# map


def test_a_map_shows_each_word_where_it_is():
    map = word_map([f"w{i}" for i in range(30)], named=["w3"], top=4)
    figure = map_figure(map)
    (axes,) = figure.axes
    (dots,) = axes.collections
    assert np.asarray(dots.get_offsets()) == pytest.approx(map.projection.xy_N2)
    colors = {text.get_text(): text.get_color() for text in axes.texts}
    assert colors["w3"] == VERMILLION
    near = [word for word, _ in map.near[0]]
    assert [colors[word] for word in near] == [BLUE, BLUE]
    assert {colors[word] for word in set(map.words) - {"w3", *near} if word in colors} <= {INK}
    for text in axes.texts:
        assert text.xy == pytest.approx(map.projection.xy_N2[map.words.index(text.get_text())])
    assert "principal component 1" in axes.get_xlabel()
    assert "t-SNE" in map_figure(word_map(map.words, method="tsne")).axes[0].get_xlabel()


def test_labels_cover_no_label_and_none_is_drawn_where_there_is_no_room():
    with style():
        figure = Figure(dpi=100)
        axes = figure.add_axes((0, 0, 1, 1))
        places = np.random.default_rng(0).random((200, 2))
        labels = [Label(f"label {i}", (x, y), INK, size=9) for i, (x, y) in enumerate(places)]
        drawn = place_labels(axes, labels)
    assert drawn == len(axes.texts) < 200
    renderer = FigureCanvasAgg(figure).get_renderer()
    boxes = [text.get_window_extent(renderer).shrunk(0.98, 0.98) for text in axes.texts]
    assert drawn > 50
    assert not [(i, j) for i in range(drawn) for j in range(i) if boxes[i].overlaps(boxes[j])]
    assert axes.texts[0].get_text() == "label 0"  # the first come first


def test_a_label_that_must_be_there_is():
    figure = Figure(dpi=100)
    axes = figure.add_axes((0, 0, 1, 1))
    labels = [Label("same", (0.5, 0.5), INK, size=30, must=must) for must in [True] * 40 + [False]]
    assert place_labels(axes, labels) == 40


# files


def test_files_have_the_size_they_should(tmp_path):
    save(loss_figure([Curve("mine", POINTS)]), tmp_path / "p.png")
    assert png_size(tmp_path / "p.png") == tuple(round(DOTS_PER_INCH * inch) for inch in WIDE)
    save(map_figure(word_map(UGLY)), tmp_path / "p.PNG")
    assert png_size(tmp_path / "p.PNG") == tuple(round(DOTS_PER_INCH * inch) for inch in SQUARE)
    save(map_figure(word_map(UGLY)), tmp_path / "p.svg")
    root = ET.fromstring((tmp_path / "p.svg").read_text())
    assert root.get("width") == f"{SQUARE[0] * 72:g}pt"
    assert all(
        f"{number}" not in (tmp_path / "p.svg").read_text()[:900] for number in ("<dc:date",)
    )


def test_any_word_may_stand_in_a_picture(tmp_path):
    figure = map_figure(word_map(UGLY, named=UGLY))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        save(figure, tmp_path / "p.png")
        save(figure, tmp_path / "p.svg")
        save(loss_figure([Curve(word, POINTS) for word in UGLY]), tmp_path / "q.svg")
    for name in ("p.svg", "q.svg"):
        root = ET.fromstring((tmp_path / name).read_text())
        texts = {"".join(node.itertext()) for node in root.iter("{http://www.w3.org/2000/svg}text")}
        assert set(UGLY) <= texts


def test_equal_figures_give_equal_files(tmp_path):
    for number in (1, 2):
        save(map_figure(word_map(["a", "b", "c"])), tmp_path / f"{number}.svg")
        save(loss_figure([Curve("mine", POINTS)]), tmp_path / f"{number}.png")
    for suffix in ("png", "svg"):
        first, second = (tmp_path / f"{number}.{suffix}" for number in (1, 2))
        assert first.read_bytes() == second.read_bytes()


def test_the_users_own_settings_do_not_count_and_stay(tmp_path, monkeypatch):
    save(loss_figure([Curve("mine", POINTS)]), tmp_path / "1.svg")
    for key, odd in {"font.size": 30.0, "lines.linestyle": ":", "text.usetex": True}.items():
        monkeypatch.setitem(rcParams, key, odd)
    save(loss_figure([Curve("mine", POINTS)]), tmp_path / "2.svg")
    assert (tmp_path / "1.svg").read_bytes() == (tmp_path / "2.svg").read_bytes()
    assert rcParams["font.size"] == 30.0


def test_letters_without_a_font_are_told_once(caplog):
    with caplog.at_level(logging.INFO):
        assert fonts_for("plain é text") == [FONT]
        assert caplog.text == ""
        assert fonts_for("a\U000f0000")[0] == FONT
    assert caplog.text.count("no installed font has the letters '\U000f0000'") == 1


def test_a_figure_can_be_asked_for_without_pyplot():
    import sys

    buffer = io.BytesIO()
    loss_figure([Curve("mine", POINTS)]).savefig(buffer)
    assert buffer.getvalue()
    assert not [name for name in sys.modules if "backend_tk" in name or "backend_qt" in name]
