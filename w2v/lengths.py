"""How long the sentences of a text are, before and after subsampling (the histogram of d2l 15.3).

An encoded text and keep probabilities enter, two arrays of lengths leave. The draw is the one that
training makes. A length counts words in vocabulary: what is outside has no id.

Legend: N = ids of a part of the text, S = sentences, V = words of the vocabulary.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from w2v.draws import DRAWS_STREAM, draw_kept, generator_at
from w2v.sentences import Sentences

PART_WORDS = 2**20  # drawn at once, so that memory does not grow with the text

Ints = NDArray[np.int64]


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
    offsets_S = sentences.offsets_S
    draws = generator_at(torch.device("cpu"), seed, DRAWS_STREAM)
    keep_prob = torch.from_numpy(keep_prob_V).float()
    kept_before_S = np.zeros_like(offsets_S)  # kept words before each border of sentences
    num_kept = 0
    for start in range(0, len(sentences.ids_N), PART_WORDS):
        ids_N = torch.from_numpy(sentences.ids_N[start : start + PART_WORDS]).long()
        kept_N = draw_kept(ids_N, keep_prob, draws).numpy()
        upto_N = num_kept + np.cumsum(kept_N)
        first, last = np.searchsorted(offsets_S, [start, start + len(ids_N)], side="right")
        kept_before_S[first:last] = upto_N[offsets_S[first:last] - start - 1]
        num_kept = int(upto_N[-1])
    return Lengths(np.diff(offsets_S), np.diff(kept_before_S))
