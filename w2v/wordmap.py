"""Which words a map shows, where, and what is near each: all that a picture or a page draws.

`WordVectors` and a wish enter, a `WordMap` leaves.

Legend: N = words on the map.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from w2v.errors import ConfigError
from w2v.projection import Method, Projection, project
from w2v.spelling import escaped
from w2v.vectors import WordVectors, unit_rows


class WordMap(NamedTuple):
    """Words on a plane: first those that were named, then their neighbors, then the commonest."""

    name: str  # of the vectors
    words: tuple[str, ...]  # N, as they may be shown
    counts: tuple[int, ...] | None  # N, where the vectors know them
    num_named: int
    num_neighbors: int
    near: tuple[list[tuple[str, float]], ...]  # N times the k nearest of all words, with cosines
    projection: Projection

    @property
    def title(self) -> str:
        """What is to be seen."""
        if not self.num_named:
            return f"{self.name}: the {len(self.words):,} commonest words"
        named = self.words[: self.num_named]
        listed = ", ".join(named[:4]) + (", ..." if len(named) > 4 else "")
        return f"{self.name}: {listed} and the words near"


def make_map(
    vectors: WordVectors,
    named: Sequence[str] = (),
    *,
    name: str,
    top: int,
    k: int,
    method: Method | None = None,
) -> WordMap:
    """A map of named words and their neighbors, and of the commonest words.

    Args:
        vectors: the words to choose from.
        named: words that must be on it, each with its k nearest.
        name: of the vectors.
        top: how many of the commonest words; all, where there are fewer.
        k: how many neighbors of each word are told.
        method: see `project`.

    Raises:
        ConfigError: no word is left to show, or t-SNE cannot be.
        DataError: a named word is not in the vocabulary.
    """
    named_ids = list(dict.fromkeys(vectors.index(word) for word in named))
    chosen = dict.fromkeys(named_ids)
    for neighbors in vectors.neighbors(named_ids, k):
        chosen |= dict.fromkeys(vectors.index(word) for word, _ in neighbors)
    num_neighbors = len(chosen) - len(named_ids)
    chosen |= dict.fromkeys(vectors.commonest(top).tolist())
    if not chosen:
        raise ConfigError("a map of no words: name some, or --top")
    ids = list(chosen)
    near = vectors.neighbors(ids, k)
    return WordMap(
        name=escaped(name),
        words=tuple(escaped(vectors.words[i]) for i in ids),
        counts=None if vectors.counts is None else tuple(vectors.counts[i] for i in ids),
        num_named=len(named_ids),
        num_neighbors=num_neighbors,
        near=tuple([(escaped(word), cosine) for word, cosine in found] for found in near),
        projection=project(unit_rows(vectors.matrix[ids]).astype(np.float64), method),
    )
