"""How many words, centers and pairs an epoch has on average, told before anything is drawn.

An encoded text and the keep probabilities enter, three expected numbers leave; no randomness. What
they tell of is drawn by `draws.draw_span`.

A sentence keeps K words, each by a chance of its own. Given K, the radius of a window being uniform
on 1..W, a center reaches a word d places away with the chance (W - d + 1) / W, and there are
2 (K - d) such pairs, so a sentence has on average

    pairs(K) = sum over d = 1 .. min(W, K - 1) of 2 (K - d) (W - d + 1) / W
             = (W + 1) K - (W + 1) (W + 2) / 3                                   for K >= W

Only short sentences leave the straight line. So the mean needs the mean of K, and the chances that
K is 0, 1 .. W - 1, which are multiplied together word by word: exact, not sampled.

Legend: N = ids of a text; S = sentences of a stretch of it; V = words of the vocabulary; W = window
(at least 2: it also counts how many values of K are followed).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from w2v.sentences import Sentences, cut, spans

STRETCH_WORDS = 1 << 18  # whose sentences are followed together: their chances fit in a cache
NEGLIGIBLE = 1e-12  # chance that so long a sentence keeps fewer than W words


class Expected(NamedTuple):
    """Of one epoch, on average."""

    words: float  # that subsampling leaves
    centers: float  # of these, with a context at least
    pairs: float  # of center and context


def expected(sentences: Sentences, *, keep_prob_V: NDArray[np.float64], window: int) -> Expected:
    """What subsampling and random windows leave of a text.

    Args:
        sentences: the words in vocabulary.
        keep_prob_V: the chance of each word to be kept, see `sampling.keep_probabilities`.
        window: W, the largest radius.

    A center without a context is no center: of sentences that keep one word there is none.
    """
    size = max(window, 2)
    few_W, words = np.zeros(size), 0.0
    for start, end in spans(sentences, max_words=STRETCH_WORDS):
        ids_N, offsets_S = cut(sentences, start, end)
        keep_prob_N = keep_prob_V[ids_N]
        words += float(keep_prob_N.sum())
        few_W += _few_kept(keep_prob_N, offsets_S, size=size)
    num_sentences = _num_nonempty(sentences)
    line = (window + 1) * words - num_sentences * (window + 1) * (window + 2) / 3
    bent = sum(
        few * (pairs_of(kept, window) - _line(kept, window)) for kept, few in enumerate(few_W)
    )
    return Expected(words, words - float(few_W[1]), line + float(bent))


def pairs_of(kept: int, window: int) -> float:
    """The expected pairs of a sentence that keeps so many words."""
    reach = range(1, min(window, kept - 1) + 1)
    return sum(2 * (kept - d) * (window - d + 1) / window for d in reach)


def _num_nonempty(sentences: Sentences) -> int:
    offsets_S, step = sentences.offsets_S, STRETCH_WORDS
    parts = (offsets_S[start : start + step + 1] for start in range(0, len(sentences), step))
    return sum(int(np.count_nonzero(np.diff(part_S))) for part_S in parts)


def _line(kept: int, window: int) -> float:
    return (window + 1) * kept - (window + 1) * (window + 2) / 3


def _few_kept(
    keep_prob_N: NDArray[np.float64], offsets_S: NDArray[np.int64], *, size: int
) -> NDArray[np.float64]:
    """How many of the sentences keep 0, 1 .. size - 1 words, on average.

    All sentences are followed at once, from their first word on; the longest stand first, so those
    that go on are always the first ones.
    """
    lengths_S = np.diff(offsets_S)
    by_length_S = np.argsort(-lengths_S, kind="stable")
    lengths_S, starts_S = lengths_S[by_length_S], offsets_S[:-1][by_length_S]
    chance_WS = np.zeros((size, np.count_nonzero(lengths_S)))
    chance_WS[0] = 1.0
    going_on = chance_WS.shape[1]
    for at in range(lengths_S[0] if going_on else 0):
        going_on = int(np.searchsorted(-lengths_S, -at, side="left"))
        part_WS = chance_WS[:, :going_on]
        if part_WS.sum(axis=0).max() < NEGLIGIBLE:
            break
        keep_prob_S = keep_prob_N[starts_S[:going_on] + at]
        moved_WS = part_WS * keep_prob_S
        part_WS -= moved_WS
        part_WS[1:] += moved_WS[:-1]
    few_W: NDArray[np.float64] = chance_WS.sum(axis=1)
    return few_W
