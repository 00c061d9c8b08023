"""What chance decides: which words of a span stay, how wide their windows are, which noise comes.

Encoded sentences enter, a `Span` leaves; `draw_noise` gives word ids. Everything is a tensor
operation on the device of the `Sampler`'s tensors, so that the same code feeds a CPU and a GPU,
and everything comes from the generator that is passed in.

Legend: V = words of the vocabulary, N = words of a span, S = its sentences.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from w2v.config import KeepFormula
from w2v.devices import finest_float
from w2v.sampling import keep_probabilities, noise_distribution


class Sampler(NamedTuple):
    """What drawing needs to know: two distributions on the device, and the sizes."""

    keep_prob_V: Tensor  # float32
    noise_cdf_V: Tensor  # cumulative noise distribution; its last entry is 1
    window: int  # W, the largest radius
    negatives: int  # K, for each pair of center and context
    block: int  # T, centers that share their targets
    shared_negatives: int  # J, of a block; 0 = textbook, negatives for each context
    avoid_contexts: bool  # a center's negatives are none of its contexts
    redraw: bool  # anew in every epoch; else the same draws, shuffled anew


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
    cdf_V = torch.from_numpy(noise_distribution(counts_V, power=noise_power)).cumsum(0)
    return Sampler(
        keep_prob_V=torch.from_numpy(keep_V).float().to(device),
        # A float32 step of 6e-8 would distort the rarest of a million words.
        noise_cdf_V=(cdf_V / cdf_V[-1]).to(finest_float(device)).to(device),
        window=window,
        negatives=negatives,
        block=block,
        shared_negatives=shared_negatives or 0,
        avoid_contexts=avoid_contexts,
        redraw=redraw,
    )


def draw_span(ids_N: Tensor, offsets_S: Tensor, sampler: Sampler, draws: torch.Generator) -> Span:
    """Subsamples a run of sentences and draws every kept word's window.

    The radius is uniform on 1..W (word2vec.c's window shrinking) and is cut at the borders of
    the subsampled sentence.

    Args:
        ids_N: integer word ids of the sentences, one after the other.
        offsets_S: int64, where each sentence starts in `ids_N`, and the end of the last one.
        sampler: the distributions, on the device of the ids.
        draws: of the same device.
    """
    device, ids_N = ids_N.device, ids_N.long()
    chance_N = torch.rand(len(ids_N), generator=draws, device=device)
    kept_N = chance_N < sampler.keep_prob_V[ids_N]
    kept_before = torch.nn.functional.pad(kept_N.cumsum(0), (1, 0))
    borders_S = kept_before[offsets_S]  # where each sentence starts among the kept words
    lengths_S = borders_S.diff()
    words_N = ids_N[kept_N]
    at_N = torch.arange(len(words_N), device=device)
    first_N = borders_S[:-1].repeat_interleave(lengths_S)
    last_N = (borders_S[1:] - 1).repeat_interleave(lengths_S)
    radius_N = torch.randint(1, sampler.window + 1, (len(words_N),), generator=draws, device=device)
    return Span(
        words_N,
        left_N=torch.minimum(radius_N, at_N - first_N),
        right_N=torch.minimum(radius_N, last_N - at_N),
    )


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
