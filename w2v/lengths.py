"""How long the sentences of a text are, before and after subsampling (the histogram of d2l 15.3).

An encoded text and keep probabilities enter, two arrays of lengths leave: 4 bytes a sentence each,
and no more of the text than a part. The draw is the one that training makes. A length counts words
in vocabulary: what is outside has no id.

Legend: N = ids of a part of the text, S = sentences, V = words of the vocabulary.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from w2v.draws import DRAWS_STREAM, draw_kept, generator_at
from w2v.sentences import Sentences, inner_borders

PART_WORDS = 2**20  # drawn at once, so that memory does not grow with the text

Ints = NDArray[np.int32]


class Lengths(NamedTuple):
    """The number of words of each sentence."""

    before_S: Ints
    after_S: Ints  # of the same sentences, subsampled once


def sentence_lengths(
    sentences: Sentences, keep_prob_V: NDArray[np.float64], *, seed: int
) -> Lengths:
    """Measures every sentence, and draws once which of its words subsampling keeps.

    Args:
        sentences: the encoded text.
        keep_prob_V: the chance of each word to be kept, from `sampling.keep_probabilities`.
        seed: that of the run.
    """
    draws = generator_at(torch.device("cpu"), seed, DRAWS_STREAM)
    keep_prob = torch.from_numpy(keep_prob_V).float()
    before_S, after_S = (np.zeros(len(sentences), np.int32) for _ in range(2))
    border, kept_before = 0, 0  # the last border of sentences, and the kept words before it
    num_kept = 0
    for start in range(0, len(sentences.ids_N), PART_WORDS):
        ids_N = torch.from_numpy(sentences.ids_N[start : start + PART_WORDS]).long()
        kept_N = draw_kept(ids_N, keep_prob, draws).numpy()
        upto_N = num_kept + np.cumsum(kept_N)
        inner = inner_borders(sentences, start, start + len(ids_N))
        borders_S = sentences.offsets_S[inner]
        kept_S = upto_N[borders_S - start - 1]
        ended = slice(inner.start - 1, inner.stop - 1)
        before_S[ended] = np.diff(borders_S, prepend=border)
        after_S[ended] = np.diff(kept_S, prepend=kept_before)
        if len(borders_S):
            border, kept_before = int(borders_S[-1]), int(kept_S[-1])
        num_kept = int(upto_N[-1])
    return Lengths(before_S, after_S)
