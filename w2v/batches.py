"""Batches of skip-gram with negative sampling: centers, their targets, labels and weights.

Encoded sentences enter; `Batch`es leave, drawn anew at every call from the generator passed in:
subsampling, window radii, shuffling, negatives. Everything is a tensor operation on the device
of the `Sampler`'s tensors, so that the same code feeds a CPU and a GPU.

Two makers build the same `Batch`:
- textbook (T = 1): a center has its own contexts and K negatives for each, then padding
  (d2l.ai 15.3; Mikolov et al. 2013b, equation 4);
- blocked (T > 1): T neighboring centers share their candidates: the T + 2W words around them,
  of which each center scores only its own window, and S negatives of weight K * c / S, c being
  the center's number of contexts. In expectation over the draws that is the textbook loss, for
  any S; one matrix product of T rows replaces T products of one row.

Legend: V = words, S = sentences (in offsets) or shared negatives, N = kept words of a span,
B = blocks, T = centers in a block, H = T + 2W words around a block, L = targets of a block,
C = contexts, M = negatives and X = blocks or clashes of whatever number.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from w2v.sampling import KeepFormula, keep_probabilities, noise_distribution
from w2v.vocab import UNK_ID

MAX_REDRAWS = 16  # of a textbook negative that is one of its center's contexts; then masked
LENGTH_GROUPS = 4  # batches that a textbook step is dealt to: padding falls from 56 % to NN %


class Batch(NamedTuple):
    """One training step's words; every row of scores is `labels` against `weights`."""

    centers_BT: Tensor  # int64 word ids, T centers that share their targets
    targets_BL: Tensor  # int64 word ids: contexts, negatives, padding (UNK_ID)
    labels_BTL: Tensor  # float32; 1 where the target is a context of that center, else 0
    weights_BTL: Tensor  # float32; what a score counts; 0 = not scored


class Sampler(NamedTuple):
    """What drawing needs to know: two distributions on the device, and the sizes."""

    keep_prob_V: Tensor  # float32
    noise_cdf_V: Tensor  # cumulative noise distribution; its last entry is 1
    window: int  # W, the largest radius
    negatives: int  # K, for each pair of center and context
    block: int  # T; 1 = textbook
    shared_negatives: int  # S, used where T > 1
    avoid_contexts: bool  # a center's negatives are none of its contexts


class Span(NamedTuple):
    """The kept words of a run of sentences, each with the reach of its window."""

    words_N: Tensor  # int64
    left_N: Tensor  # int64, contexts to the left, inside the sentence
    right_N: Tensor  # int64, contexts to the right


def make_sampler(
    counts_V: Tensor,
    *,
    window: int,
    negatives: int,
    noise_power: float,
    subsample: float | None,
    subsample_formula: KeepFormula,
    block: int,
    shared_negatives: int,
    avoid_contexts: bool,
    device: torch.device,
) -> Sampler:
    """The sampler for a vocabulary with these counts (row UNK_ID is left out of everything)."""
    counts = counts_V.numpy().copy()
    counts[UNK_ID] = 0
    keep_V = keep_probabilities(counts, threshold=subsample, formula=subsample_formula)
    cdf_V = torch.from_numpy(noise_distribution(counts, power=noise_power)).cumsum(0)
    # A float32 step of 6e-8 would distort the rarest of a million words; MPS has nothing finer.
    fine = torch.float32 if device.type == "mps" else torch.float64
    return Sampler(
        keep_prob_V=torch.from_numpy(keep_V).float().to(device),
        noise_cdf_V=(cdf_V / cdf_V[-1]).to(fine).to(device),
        window=window,
        negatives=negatives,
        block=block,
        shared_negatives=shared_negatives,
        avoid_contexts=avoid_contexts,
    )


def draw_span(
    ids_N: Tensor, offsets_S: Tensor, sampler: Sampler, generator: torch.Generator
) -> Span:
    """Subsamples a run of sentences and draws every kept word's window.

    The radius is uniform on 1..W (word2vec.c's window shrinking) and is cut at the borders of
    the subsampled sentence.

    Args:
        ids_N: int64 word ids of the sentences, one after the other.
        offsets_S: int64, where each sentence starts in `ids_N`, and the end of the last one.
        sampler: the distributions, on the device of the ids.
        generator: of the same device.
    """
    device = ids_N.device
    chance_N = torch.rand(len(ids_N), generator=generator, device=device)
    kept_N = chance_N < sampler.keep_prob_V[ids_N]
    kept_before = torch.nn.functional.pad(kept_N.cumsum(0), (1, 0))
    borders_S = kept_before[offsets_S]  # where each sentence starts among the kept words
    lengths_S = borders_S.diff()
    words_N = ids_N[kept_N]
    at_N = torch.arange(len(words_N), device=device)
    first_N = borders_S[:-1].repeat_interleave(lengths_S)
    last_N = (borders_S[1:] - 1).repeat_interleave(lengths_S)
    radius_N = torch.randint(
        1, sampler.window + 1, (len(words_N),), generator=generator, device=device
    )
    return Span(
        words_N,
        left_N=torch.minimum(radius_N, at_N - first_N),
        right_N=torch.minimum(radius_N, last_N - at_N),
    )


def count_centers(span: Span) -> int:
    """How many words of the span have a context, and so are trained as centers."""
    return int(((span.left_N + span.right_N) > 0).sum())


def steps(
    span: Span, sampler: Sampler, *, batch_size: int, generator: torch.Generator
) -> Iterator[tuple[Batch, ...]]:
    """All centers of the span, shuffled, in steps of `batch_size` (the last one is smaller).

    A step is one batch, or several whose gradients belong together.
    """
    if sampler.block == 1:
        return _textbook_steps(span, sampler, batch_size=batch_size, generator=generator)
    return _blocked_steps(span, sampler, batch_size=batch_size, generator=generator)


def draw_noise(shape: tuple[int, ...], sampler: Sampler, generator: torch.Generator) -> Tensor:
    """Word ids of the given shape, drawn from the noise distribution."""
    cdf_V = sampler.noise_cdf_V
    chance = torch.rand(shape, generator=generator, device=cdf_V.device, dtype=cdf_V.dtype)
    # right=True: the first id whose cdf exceeds the chance, so a word of probability 0 never is.
    return torch.searchsorted(cdf_V, chance, right=True).clamp_(max=len(cdf_V) - 1)


# --- textbook: T = 1 --------------------------------------------------------------------------


def _textbook_steps(
    span: Span, sampler: Sampler, *, batch_size: int, generator: torch.Generator
) -> Iterator[tuple[Batch, ...]]:
    """Steps of shuffled centers, each step in LENGTH_GROUPS batches of like length.

    A batch is padded to its longest row, and half of a shuffled batch would be padding; so a
    step's centers are sorted by their number of contexts first.
    """
    count_N = span.left_N + span.right_N
    centers_N = count_N.nonzero()[:, 0]
    if len(centers_N) == 0:
        return
    device = centers_N.device
    centers_N = centers_N[torch.randperm(len(centers_N), generator=generator, device=device)]
    step_N = torch.arange(len(centers_N), device=device) // batch_size
    rank_N = step_N * (2 * sampler.window + 1) + count_N[centers_N]
    for step_at in torch.split(centers_N[rank_N.argsort(stable=True)], batch_size):
        yield tuple(
            textbook_batch(span, at_B, sampler, generator=generator)
            for at_B in step_at.chunk(LENGTH_GROUPS)
        )


def textbook_batch(
    span: Span, at_B: Tensor, sampler: Sampler, *, generator: torch.Generator
) -> Batch:
    """The batch of the centers at positions `at_B` of the span, with K negatives for a context."""
    left_B, right_B = span.left_N[at_B], span.right_N[at_B]
    count_B = left_B + right_B
    slot_C = torch.arange(int(count_B.max()), device=at_B.device)
    skip_center_BC = (slot_C >= left_B[:, None]).long()
    position_BC = (at_B - left_B)[:, None] + slot_C + skip_center_BC
    contexts_BC = span.words_N[position_BC.clamp_(max=len(span.words_N) - 1)]
    contexts_BC.masked_fill_(slot_C >= count_B[:, None], UNK_ID)
    shape = (len(at_B), len(slot_C) * sampler.negatives)
    negatives_BM = draw_noise(shape, sampler, generator)
    if sampler.avoid_contexts:
        _redraw_contexts(negatives_BM, contexts_BC, sampler, generator)
    return assemble(
        span.words_N[at_B], contexts_BC, count_B, negatives_BM, count_B * sampler.negatives
    )


def assemble(
    centers_B: Tensor,
    contexts_BC: Tensor,
    num_contexts_B: Tensor,
    negatives_BM: Tensor,
    num_negatives_B: Tensor,
) -> Batch:
    """Packs each row's contexts, then its negatives, then padding to the longest row.

    What is UNK_ID, padding or not, is not scored.

    Args:
        centers_B: a center a row.
        contexts_BC: its contexts, `num_contexts_B` of them, from the left.
        num_contexts_B: how many are real.
        negatives_BM: its negatives, `num_negatives_B` of them, from the left.
        num_negatives_B: how many are real.
    """
    slot_L = torch.arange(int((num_contexts_B + num_negatives_B).max()), device=centers_B.device)
    num_contexts_B1 = num_contexts_B[:, None]
    is_context_BL = slot_L < num_contexts_B1
    is_real_BL = slot_L < num_contexts_B1 + num_negatives_B[:, None]
    candidates = torch.cat([contexts_BC, negatives_BM], dim=1)
    source_BL = torch.where(is_context_BL, slot_L, slot_L - num_contexts_B1 + contexts_BC.shape[1])
    targets_BL = candidates.gather(1, source_BL.clamp_(max=candidates.shape[1] - 1))
    targets_BL.masked_fill_(~is_real_BL, UNK_ID)
    return Batch(
        centers_BT=centers_B[:, None],
        targets_BL=targets_BL,
        labels_BTL=is_context_BL.float()[:, None, :],
        weights_BTL=(targets_BL != UNK_ID).float()[:, None, :],
    )


def _redraw_contexts(
    negatives_BM: Tensor, contexts_BC: Tensor, sampler: Sampler, generator: torch.Generator
) -> None:
    """Draws negatives that are contexts of their center again, in place.

    Where the vocabulary is so small that hardly anything else can be drawn, what still clashes
    after MAX_REDRAWS becomes UNK_ID, which is not scored: no loop without end.
    """
    clash_BM = (negatives_BM[:, :, None] == contexts_BC[:, None, :]).any(dim=2)
    row_X, column_X = clash_BM.nonzero(as_tuple=True)
    for _ in range(MAX_REDRAWS):
        if len(row_X) == 0:
            return
        drawn_X = draw_noise((len(row_X),), sampler, generator)
        negatives_BM[row_X, column_X] = drawn_X
        clash_X = (drawn_X[:, None] == contexts_BC[row_X]).any(dim=1)
        row_X, column_X = row_X[clash_X], column_X[clash_X]
    negatives_BM[row_X, column_X] = UNK_ID


# --- blocked: T > 1 ---------------------------------------------------------------------------


def _blocked_steps(
    span: Span, sampler: Sampler, *, batch_size: int, generator: torch.Generator
) -> Iterator[tuple[Batch]]:
    """Steps of `batch_size // T` blocks of T consecutive kept words, in shuffled order."""
    T, W = sampler.block, sampler.window
    if len(span.words_N) == 0:
        return
    tail = -len(span.words_N) % T  # the last block is filled with centers that have no contexts
    pad = torch.nn.functional.pad
    words_XH = pad(span.words_N, (W, W + tail), value=UNK_ID).unfold(0, T + 2 * W, T)
    left_XT = pad(span.left_N, (0, tail)).view(-1, T)
    right_XT = pad(span.right_N, (0, tail)).view(-1, T)
    order_X = torch.randperm(len(left_XT), generator=generator, device=left_XT.device)
    for index_B in torch.split(order_X, batch_size // T):
        words_BH, left_BT, right_BT = words_XH[index_B], left_XT[index_B], right_XT[index_B]
        yield (blocked_batch(words_BH, left_BT, right_BT, sampler, generator=generator),)


def blocked_batch(
    words_BH: Tensor,
    left_BT: Tensor,
    right_BT: Tensor,
    sampler: Sampler,
    *,
    generator: torch.Generator,
) -> Batch:
    """The batch of blocks whose T centers stand in the middle of `words_BH`, L = H + S.

    Each of the S negatives counts K * c / S for a center of c contexts. Where contexts are to be
    avoided, word2vec.c's rule holds in expectation: a pair (center, o) skips the negative o, so
    a negative that is m of the center's contexts counts K * (c - m) / S.
    """
    T, W, S = sampler.block, sampler.window, sampler.shared_negatives
    B, H = words_BH.shape
    device = words_BH.device
    # Where word h of the block stands relative to center t: -1 is the word just before it.
    offset_TH = torch.arange(H, device=device) - (torch.arange(T, device=device)[:, None] + W)
    is_context_BTH = (offset_TH >= -left_BT[..., None]) & (offset_TH <= right_BT[..., None])
    is_context_BTH &= offset_TH != 0
    negatives_BS = draw_noise((B, S), sampler, generator)
    labels_BTL = torch.zeros(B, T, H + S, device=device)
    labels_BTL[..., :H] = is_context_BTH
    weights_BTL = labels_BTL.clone()
    pairs_BT1 = (left_BT + right_BT)[..., None].float()
    if sampler.avoid_contexts:
        same_BHS = (words_BH[:, :, None] == negatives_BS[:, None, :]).float()
        pairs_BTS = pairs_BT1 - torch.bmm(labels_BTL[..., :H], same_BHS)
    else:
        pairs_BTS = pairs_BT1.expand(B, T, S)
    torch.mul(pairs_BTS, sampler.negatives / S, out=weights_BTL[..., H:])
    return Batch(
        centers_BT=words_BH[:, W : W + T],
        targets_BL=torch.cat([words_BH, negatives_BS], dim=1),
        labels_BTL=labels_BTL,
        weights_BTL=weights_BTL,
    )
