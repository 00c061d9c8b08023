"""The ranking: which counted words become the vocabulary, found without holding all of them.

Words and their counts come in parts, each word in one part alone; a `Choice` leaves. What is held
are the words that may still be chosen and one part: with `max_size` about so many words, however
many there are. The order is that of `vocab`: by count, commonest first, ties by code point.

Columns of a part: word; train, heldout: how often it occurs there. Only training text chooses.
Legend: X = distinct counts.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np
import polars as pl

from w2v.errors import DataError
from w2v.room import require_room
from w2v.vocab import UNK_WORD, Ints, Vocab, WordCounts

MAX_DROPPED = 100_000  # words below min_count that are remembered, to tell users of them
FEW_ROWS = 2**19  # held back before they are summed or sorted
SCHEMA = {"word": pl.String, "train": pl.Int64, "heldout": pl.Int64}


class Choice(NamedTuple):
    """The vocabulary of a text."""

    vocab: Vocab
    dropped: WordCounts  # the commonest of the words that it leaves out
    spectrum_X2: (
        Ints  # how many words occur how often: a count and the number of words that have it
    )
    num_types: int  # distinct tokens of the training text, a literal `<unk>` among them
    num_ids: dict[str, int]  # words in vocabulary of either part of the text


def choose(parts: Iterable[pl.DataFrame], *, min_count: int, max_size: int | None) -> Choice:
    """The vocabulary of counted tokens.

    Args:
        parts: the distinct tokens, see the module's docstring; "" and `<unk>` are no words.
        min_count: rarer words are left out.
        max_size: the most words to keep, `<unk>` not counted; the commonest stay.

    Raises:
        DataError: there are words, but none occurs `min_count` times.
        StorageError: the vocabulary will not fit into memory.
    """
    tally = _Tally(min_count, max_size)
    ranked = folded(tally.added(parts), tally.ranked)
    if tally.num_words and not tally.num_frequent:
        word, count, _ = ranked.row(0)
        raise DataError(
            f"vocab.min_count={min_count} keeps 0 of {tally.num_words:,} words; "
            f"the commonest, {word!r}, occurs {count:,} time{'s' * (count > 1)}: lower it"
        )
    kept, left = ranked[: tally.size], ranked[tally.size :]
    num_unknown = tally.num_tokens - int(kept["train"].sum())
    vocab = Vocab(
        (UNK_WORD, *kept["word"]),
        np.concatenate([np.array([num_unknown], np.int64), kept["train"].to_numpy()]),
    )
    dropped = WordCounts(tuple(left["word"]), left["train"].to_numpy())
    num_ids = {part: int(kept[part].sum()) for part in ("train", "heldout")}
    return Choice(vocab, dropped, tally.spectrum_X2(), tally.num_types, num_ids)


def folded(
    frames: Iterable[pl.DataFrame], fold: Callable[[pl.DataFrame], pl.DataFrame]
) -> pl.DataFrame:
    """`fold` of all frames end to end, for one that may be applied to a part of them first.

    Memory holds about twice what the fold of all has, FEW_ROWS and a frame. A row is folded again
    only when as many new ones came, so that time is that of one fold or two.
    """
    held, rows, limit = [pl.DataFrame(schema=SCHEMA)], 0, FEW_ROWS
    for frame in frames:
        held.append(frame)
        rows += frame.height
        if rows > limit:
            held = [fold(pl.concat(held))]
            rows = held[0].height
            limit = max(FEW_ROWS, 2 * rows)
    return fold(pl.concat(held))


class _Tally:
    """What is known of all words, those included that are let go."""

    def __init__(self, min_count: int, max_size: int | None) -> None:
        self._min_count, self._max_size = min_count, max_size
        self.num_words = self.num_frequent = self.num_tokens = self.num_types = 0
        self._numbers: Counter[int] = Counter()

    @property
    def size(self) -> int:
        """The words to keep, of those that came so far."""
        return min(self.num_frequent, self._max_size or self.num_frequent)

    def added(self, parts: Iterable[pl.DataFrame]) -> Iterator[pl.DataFrame]:
        """Notes each part; yields the words of it that occur in training."""
        for part in parts:
            counted = part.filter(pl.col("train") > 0, pl.col("word") != "")
            self.num_tokens += int(counted["train"].sum())
            self.num_types += counted.height
            words = counted.filter(pl.col("word") != UNK_WORD).select(SCHEMA.keys())
            self.num_words += words.height
            self.num_frequent += int((words["train"] >= self._min_count).sum())
            counts_X, numbers_X = np.unique(words["train"].to_numpy(), return_counts=True)
            self._numbers.update(dict(zip(counts_X.tolist(), numbers_X.tolist(), strict=True)))
            yield words

    def ranked(self, words: pl.DataFrame) -> pl.DataFrame:
        """The words that may still be kept or remembered, in their order.

        A word that comes after `size` and MAX_DROPPED others does so among more words, too: if all
        places are taken it has none, else it is rarer than `min_count` and so are those before it.
        """
        require_room(self.size)
        ranked = words.sort("train", "word", descending=[True, False])
        return ranked[: self.size + MAX_DROPPED]

    def spectrum_X2(self) -> Ints:
        """A count and the number of words that have it, for every count.

        It tells for every `min_count` what it keeps, where the words are too many to keep.
        """
        return np.array(sorted(self._numbers.items()), np.int64).reshape(-1, 2)
