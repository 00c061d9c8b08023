"""Which words of a table are handed over, and at which length.

`WordVectors` enter and fewer, or shorter, ones leave; the order of words stays.

Legend: V = words, D = dimensions.
"""

import numpy as np

from w2v.errors import ConfigError
from w2v.vectors import WordVectors, unit_rows


def commonest(vectors: WordVectors, num: int) -> WordVectors:
    """The words that occur most often (`WordVectors.commonest`), `num` or all there are.

    Raises:
        ConfigError: `num` is below 1.
    """
    if num < 1:
        raise ConfigError(f"the number of words must be at least 1, got {num}")
    if num >= len(vectors):
        return vectors
    ids = np.sort(vectors.commonest(num))
    words = [vectors.words[i] for i in ids]
    counts = None if vectors.counts is None else [vectors.counts[i] for i in ids]
    return WordVectors(words, vectors.matrix[ids], counts=counts)


def normalized(vectors: WordVectors) -> WordVectors:
    """The same words, every vector at length 1; a zero vector stays zero."""
    return WordVectors(vectors.words, unit_rows(vectors.matrix), counts=vectors.counts)
