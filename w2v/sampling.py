"""The probabilities of skip-gram with negative sampling: which words stay, which become noise.

Word counts enter, float64 arrays leave; numpy alone, no randomness: `draws` uses them.
Legend: V = words of the vocabulary, row 0 being `<unk>` with count 0.

Sources: Mikolov et al. 2013b, "Distributed Representations of Words and Phrases and their
Compositionality" (here: the paper), sections 2.2 and 2.3; word2vec.c (Google, 2013).
"""

import numpy as np
from numpy.typing import NDArray

from w2v.names import KeepFormula


def keep_probabilities(
    counts_V: NDArray[np.int64], *, threshold: float | None, formula: KeepFormula
) -> NDArray[np.float64]:
    """The probability with which each occurrence of a word survives subsampling.

    With f the word's share of all counted words and t the threshold:
    "paper" keeps sqrt(t / f) (section 2.3, equation 5), "word2vec" keeps sqrt(t / f) + t / f
    (word2vec.c, gensim, fastText): the same t keeps more. Both are capped at 1.

    Args:
        counts_V: occurrences of each word; a word that never occurs is kept.
        threshold: t, a share of the corpus; None keeps every word.
        formula: which of the two.
    """
    if threshold is None:
        return np.ones(len(counts_V))
    share_V = counts_V / counts_V.sum()
    ratio_V = threshold / np.maximum(share_V, threshold)  # rarer than t: kept for certain
    keep_V = np.sqrt(ratio_V) if formula == "paper" else np.sqrt(ratio_V) + ratio_V
    return np.asarray(np.minimum(keep_V, 1.0))


def noise_distribution(counts_V: NDArray[np.int64], *, power: float) -> NDArray[np.float64]:
    """The distribution negatives are drawn from: counts ** power, normalized (section 2.2).

    A word that never occurs is never drawn, whatever the power. The paper's power is 0.75.
    """
    raised_V = np.where(counts_V > 0, np.maximum(counts_V, 1).astype(np.float64) ** power, 0.0)
    return np.asarray(raised_V / raised_V.sum())


def row_uses(
    counts_V: NDArray[np.int64],
    *,
    keep_prob_V: NDArray[np.float64],
    noise_V: NDArray[np.float64],
    window: int,
    negatives: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How much a center of running text uses each row of the two tables, on average.

    A score counts by its weight: 1 for a context, 1 for each of its K negatives. In unbroken text a
    center has W + 1 contexts, its radius being uniform on 1..W; sentences with borders have fewer,
    so this is the most that can be. So the row of a word with share p of the kept words
    is used (W + 1)(1 + K)p as a center; as a context (W + 1)p, and as noise (W + 1)K times its
    noise probability.

    Args:
        counts_V: occurrences of each word.
        keep_prob_V: what subsampling keeps of it.
        noise_V: the noise distribution.
        window: W.
        negatives: K.
    """
    kept_V = counts_V * keep_prob_V
    share_V = kept_V / max(kept_V.sum(), np.finfo(float).tiny)
    contexts = window + 1
    return contexts * (1 + negatives) * share_V, contexts * (share_V + negatives * noise_V)
