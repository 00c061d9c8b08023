"""A corpus and the training on it in numbers, before anything is trained.

A `Survey` and the settings enter; names and values leave, in an order for reading, for
`w2v corpus stats` and `w2v train --dry-run`. docs/figures.md says what each name means.

Shares are of the raw words: all tokens of the training text.

Legend: V = words of the vocabulary; X = distinct counts; R = ranks.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2v.config import Config, SamplingSection
from w2v.devices import cpu_threads
from w2v.encoded import Corpus
from w2v.expectation import expected
from w2v.memory import memory_errors
from w2v.pace import words_per_s
from w2v.sampling import keep_probabilities
from w2v.survey import Survey
from w2v.vocab import UNK_ID

MIN_COUNTS = (1, 2, 5, 10, 20, 50, 100)  # what they would keep is told; and the config's own
NUM_COMMONEST = 10
ZIPF_RANKS = 1000  # the commonest words, to whose counts the exponent is fitted
MOST_TIMED_BYTES = 1 << 30  # of tables and optimizer: more is not taken only to be timed
SHARE_DIGITS = 6
CORPUS_ARRAYS = ("ids_N", "offsets_S")


def describe(found: Survey, config: Config, *, timed: bool = True) -> dict[str, Any]:
    """All figures, by name; numbers, texts, None, and lists of such by name.

    Args:
        found: the corpus, the kernel, what it takes.
        config: the settings that they were found with.
        timed: also train for a moment, to estimate how long training takes.

    Raises:
        StorageError: out of memory where it is timed.
    """
    about = {
        **text_figures(found.corpus, min_count=config.vocab.min_count),
        **epoch_figures(found.corpus, config.sampling),
        "epochs": config.train.epochs,
        "table_bytes": found.needs.table_bytes,
        "optimizer_bytes": found.needs.optimizer_bytes,
        "corpus_bytes": sum(
            getattr(part, name).nbytes
            for part in (found.corpus.train, found.corpus.heldout)
            for name in CORPUS_ARRAYS
        ),
        "kernel": found.kernel.name,
        "device": str(found.device.device),
    }
    return about | {"estimated_train_s": estimated_s(found, config) if timed else None}


def text_figures(corpus: Corpus, *, min_count: int) -> dict[str, Any]:
    """What the text is, and what the vocabulary keeps of it."""
    raw_words, counts_V = corpus.raw_words, corpus.vocab.counts_V
    known_V = np.delete(counts_V, UNK_ID)
    return {
        "raw_words": raw_words,
        "types": int(corpus.spectrum_X2[:, 1].sum()),
        "sentences": len(corpus.train),
        "vocab_size": len(corpus.vocab),
        "words": len(corpus.train.ids_N),
        "words_share": _share(len(corpus.train.ids_N), raw_words),
        "heldout_words": len(corpus.heldout.ids_N),
        "min_counts": [
            kept_by(corpus.spectrum_X2, least, raw_words=raw_words)
            for least in sorted({*MIN_COUNTS, min_count})
        ],
        "commonest": [
            {"word": word, "count": int(count), "share": _share(int(count), raw_words)}
            for word, count in zip(corpus.vocab.words[1:], known_V[:NUM_COMMONEST], strict=False)
        ],
        "zipf_exponent": zipf_exponent(known_V),
    }


def kept_by(
    spectrum_X2: NDArray[np.int64], min_count: int, *, raw_words: int
) -> dict[str, int | float]:
    """How many types a `vocab.min_count` keeps, and which share of the text they are."""
    kept_X2 = spectrum_X2[spectrum_X2[:, 0] >= min_count]
    words = int(kept_X2.prod(axis=1).sum())
    return {
        "min_count": min_count,
        "types": int(kept_X2[:, 1].sum()),
        "share": _share(words, raw_words),
    }


def zipf_exponent(counts: NDArray[np.int64]) -> float | None:
    """The s of count ~ 1 / rank^s among the commonest words; None for fewer than two.

    A straight line through log count over log rank, by least squares.

    Args:
        counts: occurrences, the commonest first.
    """
    counts_R = counts[:ZIPF_RANKS]
    if len(counts_R) < 2:
        return None
    slope, _ = np.polyfit(np.log(np.arange(1, len(counts_R) + 1)), np.log(counts_R), 1)
    return round(-float(slope) + 0.0, 3)


def epoch_figures(corpus: Corpus, sampling: SamplingSection) -> dict[str, int]:
    """What an epoch trains on, on average over the draws."""
    keep_prob_V = keep_probabilities(
        corpus.vocab.known_counts_V,
        threshold=sampling.subsample,
        formula=sampling.subsample_formula,
    )
    mean = expected(corpus.train, keep_prob_V=keep_prob_V, window=sampling.window)
    return {
        "words_per_epoch": round(mean.words),
        "centers_per_epoch": round(mean.centers),
        "pairs_per_epoch": round(mean.pairs),
    }


def estimated_s(found: Survey, config: Config) -> float | None:
    """About how many seconds training takes, to two digits; None where trying takes too much."""
    if found.needs.table_bytes + found.needs.optimizer_bytes > MOST_TIMED_BYTES:
        return None
    device = found.device.device
    with cpu_threads(config.train.threads), memory_errors(found.needs, device):
        rate = words_per_s(
            found.corpus,
            model=config.model,
            sampling=config.sampling,
            train=config.train,
            kernel=found.kernel.kernel,
            device=device,
        )
    seconds = config.train.epochs * len(found.corpus.train.ids_N) / rate
    return float(f"{seconds:.2g}")


def _share(part: int, whole: int) -> float:
    return round(part / whole, SHARE_DIGITS) if whole else math.nan
