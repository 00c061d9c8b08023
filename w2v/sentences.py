"""An encoded text: sentences of word ids, and how it is cut into spans.

Columns of numbers enter, as numpy arrays or in files (`file_arrays`); numpy arrays of a span leave.
Nothing here grows with the text: a cut looks at some twenty offsets of all, and reads its span.

Legend: N = ids, S = sentences.
"""

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from w2v.errors import DataError
from w2v.file_arrays import FileArray

Ids: TypeAlias = npt.NDArray[np.int32]
Offsets: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Sentences:
    """Sentences of word ids, end to end: sentence s is ids_N[offsets_S[s] : offsets_S[s + 1]]."""

    ids_N: Ids | FileArray[np.int32]
    offsets_S: Offsets | FileArray[np.int64]  # S + 1 of them; a sentence may be empty

    def __len__(self) -> int:
        return len(self.offsets_S) - 1


def spans(
    sentences: Sentences, *, max_words: int, within: tuple[int, int] | None = None
) -> list[tuple[int, int]]:
    """Cuts the text into runs of at most `max_words` ids, between sentences where it can.

    Only a sentence longer than `max_words` is cut itself; its windows end at the cut. Of a text
    only the ids `within` these borders, which are sentences', may be wanted.
    """
    cuts, (start, end) = [], within or (0, len(sentences.ids_N))
    while start < end:
        stop = min(start + max_words, end)
        if stop < end:
            border = int(sentences.offsets_S[bisect_right(sentences.offsets_S, stop) - 1])
            stop = border if border > start else stop
        cuts.append((start, stop))
        start = stop
    return cuts


def shards(sentences: Sentences, number: int) -> list[tuple[int, int]]:
    """Cuts the text between sentences into so many runs of about as many ids each.

    Raises:
        DataError: the text has fewer sentences with words.
    """
    size, offsets_S = len(sentences.ids_N), sentences.offsets_S
    borders = [0, *(_nearest(offsets_S, size * i // number) for i in range(1, number)), size]
    for i in range(1, number):  # each behind the one before it,
        if borders[i] <= borders[i - 1]:
            after = bisect_right(offsets_S, borders[i - 1])
            borders[i] = int(offsets_S[min(after, len(offsets_S) - 1)])
    for i in range(number - 1, 0, -1):  # and before the one behind it
        if borders[i] >= borders[i + 1]:
            borders[i] = int(offsets_S[max(bisect_left(offsets_S, borders[i + 1]) - 1, 0)])
    if number > 1 and any(start >= end for start, end in pairwise(borders)):
        raise DataError(
            f"{number} processes for fewer sentences with words", hint="start fewer processes"
        )
    return list(pairwise(borders))


def _nearest(offsets_S: Offsets | FileArray[np.int64], place: int) -> int:
    """The border of sentences that is nearest to a place."""
    after = bisect_left(offsets_S, place)
    around = [int(offsets_S[i]) for i in (max(after - 1, 0), min(after, len(offsets_S) - 1))]
    return min(around, key=lambda border: abs(border - place))


def inner_borders(sentences: Sentences, start: int, end: int) -> slice:
    """Which offsets lie behind `start` and not behind `end`."""
    first = bisect_right(sentences.offsets_S, start)
    return slice(first, bisect_right(sentences.offsets_S, end, lo=first))


def cut(sentences: Sentences, start: int, end: int) -> tuple[Ids, Offsets]:
    """The ids from `start` to `end` and the borders of their sentences."""
    inner_S = sentences.offsets_S[inner_borders(sentences, start, end)]
    offsets_S = np.concatenate([[start], inner_S, [end]]) - start
    return sentences.ids_N[start:end], offsets_S
