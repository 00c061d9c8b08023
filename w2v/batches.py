"""Batches of skip-gram with negative sampling: centers, their targets, labels and weights.

A `Span` enters; steps of `Batch`es leave, shuffled. Two makers build the same `Batch`:
- textbook (T = 1, J = 0): a center has its own contexts and K negatives for each, then padding
  (d2l.ai 15.3; Mikolov et al. 2013b, equation 4);
- blocked (J > 0): T neighboring centers share their candidates: the T + 2W words around them,
  of which each center scores only its own window, and J negatives of weight K * c / J, c being
  the center's number of contexts. In expectation over the draws that is the textbook loss, for
  any J; one matrix product of T rows replaces T products of one row.
Where contexts are to be avoided, neither scores a negative that is one of its center's contexts:
the textbook maker draws it again, the blocked one lets the others count for it (where there are
others: of J negatives that are all contexts, none is scored).

Legend: W = window, K = negatives for a context, N = words of a span, B = blocks, T = centers in a
block, H = T + 2W words around a block, J = negatives that a block shares, L = targets of a block,
C = contexts of a center, M = its negatives; X = any number.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from w2v.draws import Sampler, Span, Streams, draw_noise
from w2v.vocab import UNK_ID

MAX_REDRAWS = 16  # of a textbook negative that is one of its center's contexts; then masked
STEADY_REDRAWS = 3  # leave one in a million in ordinary text
LENGTH_GROUPS = 4  # batches that a textbook step is dealt to, so that little is padded
FIXED_ROWS = 4096  # centers whose lasting negatives are drawn at once


class Batch(NamedTuple):
    """One training step's words; every row of scores is `labels` against `weights`."""

    centers_BT: Tensor  # int64 word ids, T centers that share their targets
    targets_BL: Tensor  # int64 word ids: contexts, negatives, padding (UNK_ID)
    labels_BTL: Tensor  # float32; 1 where the target is a context of that center, else 0
    weights_BTL: Tensor  # float32; what a score counts; 0 = not scored


def steps(
    span: Span, sampler: Sampler, streams: Streams, *, batch_size: int
) -> Iterator[tuple[Batch, ...]]:
    """All centers of the span, shuffled, in steps of `batch_size` (the last one is smaller).

    A step is one batch, or several whose gradients belong together.
    """
    if not sampler.shared_negatives:
        return _textbook_steps(span, sampler, streams, batch_size=batch_size)
    return _blocked_steps(span, sampler, streams, batch_size=batch_size)


# --- textbook: J = 0 --------------------------------------------------------------------------


def _textbook_steps(
    span: Span, sampler: Sampler, streams: Streams, *, batch_size: int
) -> Iterator[tuple[Batch, ...]]:
    """Steps of shuffled centers, each step in LENGTH_GROUPS batches of like length.

    A batch is padded to its longest row, and half of a shuffled batch would be padding; so a
    step's centers are sorted by their number of contexts first.
    """
    count_N = span.left_N + span.right_N
    centers_X = count_N.nonzero()[:, 0]
    if len(centers_X) == 0:
        return
    fixed_NM = None if sampler.redraw else _lasting_negatives(span, sampler, streams.draws)
    device = centers_X.device
    centers_X = centers_X[torch.randperm(len(centers_X), generator=streams.order, device=device)]
    step_X = torch.arange(len(centers_X), device=device) // batch_size
    rank_X = step_X * (2 * sampler.window + 1) + count_N[centers_X]
    for step_at in torch.split(centers_X[rank_X.argsort(stable=True)], batch_size):
        yield tuple(
            textbook_batch(span, at_B, sampler, draws=streams.draws, fixed_NM=fixed_NM)
            for at_B in step_at.chunk(LENGTH_GROUPS)
        )


def textbook_batch(
    span: Span,
    at_B: Tensor,
    sampler: Sampler,
    *,
    draws: torch.Generator,
    fixed_NM: Tensor | None = None,
    steady: bool = False,
) -> Batch:
    """The batch of the centers at positions `at_B` of the span, with K negatives for a context.

    The negatives are drawn, or taken from `fixed_NM` where they were drawn once for all epochs.
    A steady batch has the width of the longest row that can be, so that the host need not know
    how long the longest one is.
    """
    count_B = span.left_N[at_B] + span.right_N[at_B]
    most = 2 * sampler.window if steady else int(count_B.max())
    contexts_BC = contexts_at(span, at_B, width=most)
    if fixed_NM is not None:
        negatives_BM = fixed_NM[at_B, : contexts_BC.shape[1] * sampler.negatives].long()
    elif steady:
        negatives_BM = draw_steadily(contexts_BC, sampler, draws)
    else:
        negatives_BM = _draw_negatives(contexts_BC, sampler, draws)
    return assemble(
        span.words_N[at_B],
        contexts_BC,
        count_B,
        negatives_BM,
        count_B * sampler.negatives,
        width=most * (1 + sampler.negatives) if steady else None,
    )


def contexts_at(span: Span, at_B: Tensor, *, width: int) -> Tensor:
    """The contexts (B, C = width) of the centers at `at_B`, from left to right, then UNK_ID."""
    left_B, right_B = span.left_N[at_B], span.right_N[at_B]
    slot_C = torch.arange(width, device=at_B.device)
    skip_center_BC = (slot_C >= left_B[:, None]).long()
    position_BC = (at_B - left_B)[:, None] + slot_C + skip_center_BC
    contexts_BC = span.words_N[position_BC.clamp_(max=len(span.words_N) - 1)]
    return contexts_BC.masked_fill_(slot_C >= (left_B + right_B)[:, None], UNK_ID)


def _draw_negatives(contexts_BC: Tensor, sampler: Sampler, draws: torch.Generator) -> Tensor:
    """K negatives (B, C * K) for each slot of contexts.

    Where contexts are to be avoided, negatives that are one of their center's are drawn again.
    Where the vocabulary is so small that hardly anything else can be drawn, what still clashes
    after MAX_REDRAWS becomes UNK_ID, which is not scored: no loop without end.
    """
    rows, width = contexts_BC.shape
    negatives_BM = draw_noise((rows, width * sampler.negatives), sampler, draws)
    if not sampler.avoid_contexts:
        return negatives_BM
    row_X, column_X = _clashes(negatives_BM, contexts_BC).nonzero(as_tuple=True)
    for _ in range(MAX_REDRAWS):
        if len(row_X) == 0:
            return negatives_BM
        drawn_X = draw_noise((len(row_X),), sampler, draws)
        negatives_BM[row_X, column_X] = drawn_X
        clash_X = (drawn_X[:, None] == contexts_BC[row_X]).any(dim=1)
        row_X, column_X = row_X[clash_X], column_X[clash_X]
    negatives_BM[row_X, column_X] = UNK_ID
    return negatives_BM


def draw_steadily(contexts_BC: Tensor, sampler: Sampler, draws: torch.Generator) -> Tensor:
    """`_draw_negatives` with STEADY_REDRAWS, whether or not they are needed.

    Nobody asks whether any is left that clashes, so the host does not wait for the device.
    """
    rows, width = contexts_BC.shape
    shape = (rows, width * sampler.negatives)
    negatives_BM = draw_noise(shape, sampler, draws)
    if not sampler.avoid_contexts:
        return negatives_BM
    for _ in range(STEADY_REDRAWS):
        clash_BM = _clashes(negatives_BM, contexts_BC)
        negatives_BM = torch.where(clash_BM, draw_noise(shape, sampler, draws), negatives_BM)
    return negatives_BM.masked_fill_(_clashes(negatives_BM, contexts_BC), UNK_ID)


def _clashes(negatives_BM: Tensor, contexts_BC: Tensor) -> Tensor:
    """Which negatives (B, M) are contexts of their center."""
    return (negatives_BM[:, :, None] == contexts_BC[:, None, :]).any(dim=2)


def _lasting_negatives(span: Span, sampler: Sampler, draws: torch.Generator) -> Tensor:
    """Negatives (N, 2W * K) of every center, int32, drawn in an order that never changes."""
    count_N = span.left_N + span.right_N
    shape = (len(count_N), 2 * sampler.window * sampler.negatives)
    fixed_NM = torch.full(shape, UNK_ID, dtype=torch.int32, device=count_N.device)
    by_length_N = count_N.argsort(stable=True)  # like with like, so that few are drawn in vain
    for at_B in torch.split(by_length_N[(count_N == 0).sum() :], FIXED_ROWS):
        contexts_BC = contexts_at(span, at_B, width=int(count_N[at_B].max()))
        negatives_BM = _draw_negatives(contexts_BC, sampler, draws)
        fixed_NM[at_B, : negatives_BM.shape[1]] = negatives_BM.int()
    return fixed_NM


def assemble(
    centers_B: Tensor,
    contexts_BC: Tensor,
    num_contexts_B: Tensor,
    negatives_BM: Tensor,
    num_negatives_B: Tensor,
    *,
    width: int | None = None,
) -> Batch:
    """Packs each row's contexts, then its negatives, then padding to the width, or the longest row.

    What is UNK_ID, padding or not, is not scored.

    Args:
        centers_B: a center a row.
        contexts_BC: its contexts, `num_contexts_B` of them, from the left.
        num_contexts_B: how many are real.
        negatives_BM: its negatives, `num_negatives_B` of them, from the left.
        num_negatives_B: how many are real.
        width: L; None: as long as the longest row.
    """
    L = int((num_contexts_B + num_negatives_B).max()) if width is None else width
    slot_L = torch.arange(L, device=centers_B.device)
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


# --- blocked: J > 0 ---------------------------------------------------------------------------


def _blocked_steps(
    span: Span, sampler: Sampler, streams: Streams, *, batch_size: int
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
    negatives_XJ = draw_noise((len(words_XH), sampler.shared_negatives), sampler, streams.draws)
    order_X = torch.randperm(len(words_XH), generator=streams.order, device=words_XH.device)
    for at_B in torch.split(order_X, batch_size // T):
        parts = (words_XH[at_B], left_XT[at_B], right_XT[at_B], negatives_XJ[at_B])
        yield (blocked_batch(*parts, sampler),)


def blocked_batch(
    words_BH: Tensor,
    left_BT: Tensor,
    right_BT: Tensor,
    negatives_BJ: Tensor,
    sampler: Sampler,
) -> Batch:
    """The batch of blocks whose T centers stand in the middle of `words_BH`, L = H + J.

    The negatives of a center count K * c together: K * c / J each, or more where some of them
    are its contexts and are left out.
    """
    T, W = sampler.block, sampler.window
    (B, H), J = words_BH.shape, negatives_BJ.shape[1]
    device = words_BH.device
    # Where word h of the block stands relative to center t: -1 is the word just before it.
    offset_TH = torch.arange(H, device=device) - (torch.arange(T, device=device)[:, None] + W)
    is_context_BTH = (offset_TH >= -left_BT[..., None]) & (offset_TH <= right_BT[..., None])
    is_context_BTH &= offset_TH != 0
    labels_BTL = torch.zeros(B, T, H + J, device=device)
    labels_BTL[..., :H] = is_context_BTH
    weights_BTL = labels_BTL.clone()
    each_BT1 = (left_BT + right_BT)[..., None] * (sampler.negatives / J)
    weights_BTL[..., H:] = each_BT1
    if sampler.avoid_contexts:
        same_BHJ = (words_BH[:, :, None] == negatives_BJ[:, None, :]).float()
        allowed_BTJ = torch.bmm(labels_BTL[..., :H], same_BHJ) == 0
        share_BT1 = allowed_BTJ.sum(dim=2, keepdim=True).clamp_(min=1) / J
        weights_BTL[..., H:] = allowed_BTJ * (each_BT1 / share_BT1)
    return Batch(
        centers_BT=words_BH[:, W : W + T],
        targets_BL=torch.cat([words_BH, negatives_BJ], dim=1),
        labels_BTL=labels_BTL,
        weights_BTL=weights_BTL,
    )
