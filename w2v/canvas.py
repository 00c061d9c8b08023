"""What all pictures share: how they look, in which fonts they are written, and how they are saved.

The user's own matplotlib settings do not count, and no time is written, so that equal figures give
equal files. No window is ever opened: nothing here or in `plots` touches pyplot.
"""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from matplotlib import rc_context, rcdefaults, rcParams
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager
from matplotlib.ft2font import FT2Font

from w2v.colors import GRAY, INK
from w2v.files import atomic_write
from w2v.spelling import shown

log = logging.getLogger(__name__)

DOTS_PER_INCH = 150
FONT = "DejaVu Sans"  # comes with matplotlib
NO_FONTS = ("Last Resort", ".")  # which have a box for every letter, or are the system's own

_STYLE: dict[Any, Any] = {
    "axes.edgecolor": GRAY,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 12,
    "figure.constrained_layout.use": True,
    "legend.frameon": False,
    "savefig.dpi": DOTS_PER_INCH,
    "svg.fonttype": "none",  # words that can be searched and copied
    "svg.hashsalt": "w2v",
    "text.color": INK,
    "text.parse_math": False,  # a word is no formula, whatever dollars it has
    "xtick.color": INK,
    "ytick.color": INK,
}


@contextmanager
def style(texts: Sequence[str] = ()) -> Iterator[None]:
    """The settings under which a figure is made or saved, with fonts that have these letters."""
    with rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # said by `fonts_for`
        rcdefaults()
        rcParams.update(_STYLE)
        rcParams["font.family"] = fonts_for("".join(texts))
        yield


def save(figure: Figure, path: Path) -> None:
    """Writes a figure, whole or not at all, as the suffix says: .png or .svg.

    Raises:
        StorageError: the file cannot be written.
    """
    with style(), atomic_write(path.resolve()) as file:
        format = path.suffix.lower().removeprefix(".")
        metadata = {"Date": None} if format == "svg" else {}
        figure.savefig(file, format=format, metadata=metadata)


def fonts_for(text: str) -> list[str]:
    """The names of installed fonts that have all letters of a text, if there are such fonts.

    What no font has is drawn as a box, and said.
    """
    missing = {letter for letter in text if not letter.isspace()}
    names: list[str] = []
    plain = (font for font in fontManager.ttflist if font.style == "normal" and font.weight == 400)
    for font in sorted(plain, key=lambda font: (font.name != FONT, font.name, font.fname)):
        if names and not missing:
            break
        if font.name.startswith(NO_FONTS) or font.name in names:
            continue
        file = FT2Font(font.fname)
        found = {letter for letter in missing if file.get_char_index(ord(letter))}
        if found or font.name == FONT:
            names.append(font.name)
        missing -= found
    if missing:
        some = shown("".join(sorted(missing)))
        log.info("no installed font has the letters %s: a PNG shows them as boxes", some)
    return names
