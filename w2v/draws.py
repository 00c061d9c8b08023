"""What chance decides: which words of a span stay, how wide their windows are, which noise comes.

Encoded sentences enter, a `Span` leaves; `draw_noise` gives word ids. Everything is a tensor
operation on the device of the `Sampler`'s tensors, so that the same code feeds a CPU and a GPU,
and everything comes from the generator that is passed in.

Legend: V = words of the vocabulary, N = words of a span, S = its sentences.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from w2v.devices import finest_float
from w2v.names import KeepFormula
from w2v.sampling import keep_probabilities, noise_distribution, row_uses
from w2v.vocab import UNK_ID

OVERFLOW_CHANCE = 1e-15  # that a span keeps more words than there is room for
# What random numbers are for; each has a stream of its own.
INIT_STREAM, SPANS_STREAM, DRAWS_STREAM, ORDER_STREAM, HELDOUT_STREAM = range(5)


class Sampler(NamedTuple):
    """What drawing needs to know: two distributions on the device, and the sizes."""

    keep_prob_V: Tensor  # float32
    noise_cdf_V: Tensor  # cumulative noise distribution; its last entry is 1
    center_uses_V: Tensor  # float32; how much a center uses each row, see `sampling.row_uses`
    context_uses_V: Tensor
    window: int  # W, the largest radius
    negatives: int  # K, for each pair of center and context
    block: int  # T, centers that share their targets
    shared_negatives: int  # J, of a block; 0 = textbook, negatives for each context
    avoid_contexts: bool  # a center's negatives are none of its contexts
    redraw: bool  # anew in every epoch; else the same draws, shuffled anew


class SpanText(NamedTuple):
    """A run of whole sentences, on the device that trains."""

    ids_N: Tensor  # integer word ids
    offsets_S: Tensor  # int64, where each sentence starts, and the end of the last one
    # How many words the span is to hold, at least as many as are kept (`kept_at_most`). Then no
    # size depends on what is drawn, and nothing waits for the device. None: as many as are kept.
    room: int | None = None


class Streams(NamedTuple):
    """The random streams of a span, both of the sampler's device.

    Equal draws under another order are the same examples, shuffled anew.
    """

    draws: torch.Generator  # subsampling, windows, noise
    order: torch.Generator  # shuffling


class Span(NamedTuple):
    """The kept words of a run of sentences, each with the reach of its window."""

    words_N: Tensor  # int64
    left_N: Tensor  # int64, contexts to the left, inside the sentence
    right_N: Tensor  # int64, contexts to the right


def make_sampler(
    counts_V: NDArray[np.int64],
    *,
    window: int,
    negatives: int,
    noise_power: float,
    subsample: float | None,
    subsample_formula: KeepFormula,
    block: int,
    shared_negatives: int | None,
    avoid_contexts: bool,
    redraw: bool,
    device: torch.device,
) -> Sampler:
    """The sampler for a vocabulary with these counts; a word of count 0 is never drawn."""
    keep_V = keep_probabilities(counts_V, threshold=subsample, formula=subsample_formula)
    noise_V = noise_distribution(counts_V, power=noise_power)
    uses = row_uses(
        counts_V, keep_prob_V=keep_V, noise_V=noise_V, window=window, negatives=negatives
    )
    center_uses_V, context_uses_V = (torch.from_numpy(of_V).float().to(device) for of_V in uses)
    cdf_V = torch.from_numpy(noise_V).cumsum(0)
    return Sampler(
        keep_prob_V=torch.from_numpy(keep_V).float().to(device),
        # A float32 step of 6e-8 would distort the rarest of a million words.
        noise_cdf_V=(cdf_V / cdf_V[-1]).to(finest_float(device)).to(device),
        center_uses_V=center_uses_V,
        context_uses_V=context_uses_V,
        window=window,
        negatives=negatives,
        block=block,
        shared_negatives=shared_negatives or 0,
        avoid_contexts=avoid_contexts,
        redraw=redraw,
    )


def draw_span(text: SpanText, sampler: Sampler, draws: torch.Generator) -> Span:
    """Subsamples a run of sentences and draws every kept word's window.

    The radius is uniform on 1..W (word2vec.c's window shrinking) and is cut at the borders of
    the subsampled sentence. Where there is room for more words than are kept, `<unk>` without
    contexts stands behind them.

    Args:
        text: the sentences.
        sampler: the distributions, on the device of the text.
        draws: of the same device.
    """
    ids_N, room = text.ids_N.long(), text.room
    device = ids_N.device
    kept_N = draw_kept(ids_N, sampler.keep_prob_V, draws)
    kept_before = torch.nn.functional.pad(kept_N.cumsum(0), (1, 0))
    borders_S = kept_before[text.offsets_S]  # where each sentence starts among the kept words
    if room is None:
        words_N, lengths_S = ids_N[kept_N], borders_S.diff()
        first_N = borders_S[:-1].repeat_interleave(lengths_S)
        last_N = (borders_S[1:] - 1).repeat_interleave(lengths_S)
    else:
        words_N = _packed(ids_N, kept_N, kept_before[:-1], room)
        first_N, last_N = _sentence_of_each(borders_S, room)
    at_N = torch.arange(len(words_N), device=device)
    radius_N = torch.randint(1, sampler.window + 1, (len(words_N),), generator=draws, device=device)
    return Span(
        words_N,
        left_N=torch.minimum(radius_N, at_N - first_N),
        right_N=torch.minimum(radius_N, last_N - at_N),
    )


def draw_kept(ids_N: Tensor, keep_prob_V: Tensor, draws: torch.Generator) -> Tensor:
    """Which of these words subsampling keeps, each by its own chance; bool, shape (N,)."""
    chance_N = torch.rand(len(ids_N), generator=draws, device=ids_N.device)
    return chance_N < keep_prob_V[ids_N]


def _packed(ids_N: Tensor, kept_N: Tensor, place_N: Tensor, room: int) -> Tensor:
    """The kept ids in a row, then UNK_ID; what finds no room is left out."""
    # All that is left out goes to one place beyond the end, which is cut off.
    place_N = place_N.masked_fill(~kept_N, room).clamp_(max=room)
    words = torch.full((room + 1,), UNK_ID, device=ids_N.device)
    return words.scatter_(0, place_N, ids_N)[:room]


def _sentence_of_each(borders_S: Tensor, room: int) -> tuple[Tensor, Tensor]:
    """The first and the last word of the sentence that each word is in; itself behind the last."""
    at_N = torch.arange(room, device=borders_S.device)
    sentence_N = torch.searchsorted(borders_S[1:], at_N, right=True)
    end_N = borders_S[1:].clamp(max=room)[sentence_N.clamp(max=len(borders_S) - 2)]
    is_word_N = sentence_N < len(borders_S) - 1
    first_N = torch.where(is_word_N, borders_S[sentence_N.clamp(max=len(borders_S) - 1)], at_N)
    return first_N, torch.where(is_word_N, end_N - 1, at_N)


def kept_at_most(ids_N: NDArray[np.int32], keep_prob_V: NDArray[np.float32]) -> int:
    """How many of these words subsampling keeps, but for a chance of OVERFLOW_CHANCE.

    Source: Bernstein's inequality for sums of independent trials.
    """
    keep_prob_N = keep_prob_V[ids_N]
    mean = float(keep_prob_N.sum(dtype=np.float64))
    variance = max(
        0.0, mean - float(np.einsum("n,n->", keep_prob_N, keep_prob_N, dtype=np.float64))
    )
    third = -math.log(OVERFLOW_CHANCE) / 3
    margin = third + math.sqrt(third * (third + 6 * variance))
    return min(len(ids_N), math.ceil(mean + margin))


def count_slots(span: Span, sampler: Sampler) -> int:
    """How many centers the batches of a span hold: blocks also hold words without a context."""
    if sampler.shared_negatives:
        return len(span.words_N)
    return int(((span.left_N + span.right_N) > 0).sum())


def draw_noise(shape: tuple[int, ...], sampler: Sampler, draws: torch.Generator) -> Tensor:
    """Word ids of the given shape, drawn from the noise distribution."""
    cdf_V = sampler.noise_cdf_V
    chance = torch.rand(shape, generator=draws, device=cdf_V.device, dtype=cdf_V.dtype)
    # right=True: the first id whose cdf exceeds the chance, so a word of probability 0 never is.
    return torch.searchsorted(cdf_V, chance, right=True).clamp_(max=len(cdf_V) - 1)


def generator_at(device: torch.device, *place: int) -> torch.Generator:
    """A generator whose stream belongs to this place in the run alone."""
    seed = np.random.SeedSequence(place).generate_state(1, np.uint64)[0]
    return torch.Generator(device).manual_seed(int(seed >> np.uint64(1)))
