"""An encoded text: sentences of word ids, and how it is cut into spans.

Numpy arrays enter and leave, mapped from disk where the corpus is cached.

Legend: N = ids, S = sentences.
"""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Ids: TypeAlias = npt.NDArray[np.int32]
Offsets: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Sentences:
    """Sentences of word ids, end to end: sentence s is ids_N[offsets_S[s] : offsets_S[s + 1]]."""

    ids_N: Ids
    offsets_S: Offsets  # S + 1 of them; a sentence may be empty

    def __len__(self) -> int:
        return len(self.offsets_S) - 1


def spans(sentences: Sentences, *, max_words: int) -> list[tuple[int, int]]:
    """Cuts the text into runs of at most `max_words` ids, between sentences where it can.

    Only a sentence longer than `max_words` is cut itself; its windows end at the cut.
    """
    cuts, end = [], len(sentences.ids_N)
    start = 0
    while start < end:
        stop = min(start + max_words, end)
        if stop < end:
            border = sentences.offsets_S[np.searchsorted(sentences.offsets_S, stop, "right") - 1]
            stop = int(border) if border > start else stop
        cuts.append((start, stop))
        start = stop
    return cuts


def cut(sentences: Sentences, start: int, end: int) -> tuple[Ids, Offsets]:
    """The ids from `start` to `end` and the borders of their sentences."""
    first, last = np.searchsorted(sentences.offsets_S, [start, end], side="right")
    inner_S = sentences.offsets_S[first:last]
    offsets_S = np.concatenate([[start], inner_S, [end]]) - start
    return sentences.ids_N[start:end], offsets_S
