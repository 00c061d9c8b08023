"""What chance decides for `hogwild`: which words of a piece stay, their windows, and the noise.

A piece is a run of a span's words that one thread takes at a time. It enters `draw_piece`, compiled
and without the interpreter's lock; `Draws` leave. Pieces may begin and end inside a sentence: a
word is kept or not by its place alone, so neighbors agree on it, and no window is cut.

Legend: V = words of the vocabulary; N = words of a span, or kept words of a piece; S = sentences;
R = stretches of a piece; X = blocks; T = centers in a block; J = noise words of a block;
W = window.
"""

from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from w2v.kernels.jit import compiled, inlined

Floats: TypeAlias = NDArray[np.float32]
Ints: TypeAlias = NDArray[np.int32]
Longs: TypeAlias = NDArray[np.int64]

PIECE_WORDS = 1 << 14  # some two milliseconds of work
MOST_NOISE = 1 << 22  # noise words of a piece; a piece with more is made smaller


class Noise(NamedTuple):
    """A distribution over words as an alias table (Walker 1977): two look-ups a draw."""

    share_V: Floats  # how much of a word's slot is its own
    other_V: Ints  # the word that has the rest


class Draws(NamedTuple):
    """The kept words of a piece, their windows and the noise, block by block."""

    words_N: Ints
    left_N: Ints  # contexts to the left, inside the sentence; of centers only
    right_N: Ints
    noise_XJ: Ints
    # begin, end, first, last: words_N[begin:end] are neighbors in one sentence, those from first
    # to last are centers; the words beside them are centers of the pieces before and after.
    stretches_R4: Longs


def piece_words(shared_negatives: int) -> int:
    """How many words a piece has."""
    return max(1, min(PIECE_WORDS, MOST_NOISE // shared_negatives))


def empty_draws(*, window: int, block: int, shared_negatives: int) -> Draws:
    """Room for the draws of any piece."""
    most = piece_words(shared_negatives)
    words = 2 * most + 3 * window + 1  # the loop looks ahead; what it finds there does no harm
    stretches = most // 2 + 2  # a stretch has two words or more, and one block or more
    return Draws(
        words_N=np.zeros(words, np.int32),
        left_N=np.zeros(words, np.int32),
        right_N=np.zeros(words, np.int32),
        noise_XJ=np.zeros((most // block + stretches + 1, shared_negatives), np.int32),
        stretches_R4=np.zeros((stretches, 4), np.int64),
    )


@compiled
def draw_piece(
    ids_N: Ints,
    offsets_S: Longs,
    start: int,
    end: int,
    key: Any,
    keep_prob_V: Floats,
    noise: Noise,
    window: int,
    block: int,
    draws: Draws,
) -> int:
    """Draws for the centers from `start` to `end` of a span; returns the number of stretches.

    Radii are uniform on 1..W (word2vec.c's window shrinking) and end with the subsampled sentence.

    Args:
        ids_N: the span's word ids.
        offsets_S: where its sentences start, and the end of the last one.
        start: the first word of the piece.
        end: the end of the piece.
        key: uint64, the span's.
        keep_prob_V: the chance of a word to be kept.
        noise: the noise distribution.
        window: W.
        block: T.
        draws: is filled.
    """
    num_words = num_stretches = num_blocks = 0
    state = scramble(key + np.uint64(end))
    sentence = np.searchsorted(offsets_S, start, side="right") - 1
    while sentence < len(offsets_S) - 1 and offsets_S[sentence] < end:
        sentence_start, sentence_end = offsets_S[sentence], offsets_S[sentence + 1]
        sentence += 1
        begin = num_words
        place, before = max(sentence_start, start), 0
        while place > sentence_start and before < window:
            place -= 1
            before += is_kept(ids_N, place, key, keep_prob_V)
        while place < min(sentence_end, end):
            draws.words_N[num_words] = ids_N[place]
            num_words += is_kept(ids_N, place, key, keep_prob_V)
            place += 1
        first, last = begin + before, num_words
        while place < sentence_end and num_words < last + window:
            draws.words_N[num_words] = ids_N[place]
            num_words += is_kept(ids_N, place, key, keep_prob_V)
            place += 1
        if num_words - begin < 2 or first == last:
            num_words = begin
            continue
        for i in range(first, last):
            state = following(state)
            radius = below(scramble(state), window) + 1
            draws.left_N[i] = min(radius, i - begin)
            draws.right_N[i] = min(radius, num_words - 1 - i)
        for _ in range(first, last, block):
            for j in range(draws.noise_XJ.shape[1]):
                state = following(state)
                draws.noise_XJ[num_blocks, j] = draw_noise(scramble(state), noise)
            num_blocks += 1
        stretch = draws.stretches_R4[num_stretches]
        stretch[0], stretch[1], stretch[2], stretch[3] = begin, num_words, first, last
        num_stretches += 1
    return num_stretches


def alias_table(probability_V: NDArray[np.float64]) -> tuple[Floats, Ints]:
    """The columns of `Noise` for a distribution.

    Each of V slots has room for the V-th part of all. What the rare words leave free in theirs lies
    on a line, one after the other; what the frequent words have too much lies on another. A rare
    word's slot is filled by the frequent word that lies where its gap begins. Where that gap goes
    on beyond, the frequent word has given too much, and the next one makes up for it in its slot.
    """
    size_V = probability_V * len(probability_V)
    rare_R, frequent_F = np.flatnonzero(size_V < 1), np.flatnonzero(size_V >= 1)
    share_V, other_V = np.minimum(size_V, 1), np.arange(len(size_V))
    gap_R = 1 - size_V[rare_R]
    gap_end_R, surplus_end_F = gap_R.cumsum(), (size_V[frequent_F] - 1).cumsum()
    last = len(frequent_F) - 1
    giver_R = np.searchsorted(surplus_end_F, gap_end_R - gap_R, side="right")
    other_V[rare_R] = frequent_F[np.minimum(giver_R, last)]
    following_F = np.minimum(np.arange(len(frequent_F)) + 1, last)
    other_V[frequent_F] = frequent_F[following_F]
    ends = np.append(gap_end_R, np.inf)[np.searchsorted(gap_end_R, surplus_end_F)]
    too_much_F = np.where(np.isfinite(ends), ends - surplus_end_F, 0.0)
    share_V[frequent_F] = 1 - np.clip(too_much_F, 0, 1)
    return share_V.astype(np.float32), other_V.astype(np.int32)


@inlined
def draw_noise(bits: Any, noise: Noise) -> Any:
    """A word of the noise distribution, from 64 random bits."""
    slot = below(bits, len(noise.share_V))
    return slot if chance(bits) < noise.share_V[slot] else np.int64(noise.other_V[slot])


@inlined
def is_kept(ids_N: Ints, place: int, key: Any, keep_prob_V: Floats) -> Any:
    """Whether subsampling keeps the word at a place of the span: 1 or 0."""
    bits = scramble(key + np.uint64(place) * np.uint64(0x9E3779B97F4A7C15))
    return np.int64(chance(bits) < keep_prob_V[ids_N[place]])


@inlined
def following(state: Any) -> Any:
    """The state after this one; `scramble` makes it random (SplitMix64, Steele et al. 2014)."""
    return state + np.uint64(0x9E3779B97F4A7C15)


@inlined
def scramble(state: Any) -> Any:
    """64 random bits of a state."""
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


@inlined
def chance(bits: Any) -> Any:
    """A float32 in [0, 1), of the lowest 24 bits."""
    return np.float32(bits & np.uint64(0xFFFFFF)) * np.float32(2.0**-24)


@inlined
def below(bits: Any, size: Any) -> Any:
    """An int64 in [0, size), of the highest 32 bits."""
    return np.int64(((bits >> np.uint64(32)) * np.uint64(size)) >> np.uint64(32))
