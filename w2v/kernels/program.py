"""What one Triton program does: train on blocks, one after the other, with the updates in place.

Read it from the end: `train_blocks` takes a block, weighs its targets and lets `meet` score them
and step. The mathematics is that of `bmm.gradients` on the batch that `batches.blocked_batch`
makes of the block; the updates are those of `optimizers`, with a step for every use of a row.

The functions are compiled for the sizes that they get as constants. Triton reads their source and
gives every name its type, so none is written down.

Legend: N = words of a span, X = its blocks, T = centers of a block, H = T + 2W words around it,
J = noise words of a block, V = words of the vocabulary. Inside a program sizes are powers of two:
C >= T centers, L targets at a time, E numbers of a row at a time. The first E stay in registers,
the others, where a row is longer, are read again when they are needed.
"""

import triton
import triton.language as tl


@triton.jit
def tile_at(table, words_L, used_L, first, STRIDE: tl.constexpr, E: tl.constexpr):
    """Where E numbers of some rows are, from the `first` on, and which of them there are."""
    column_E = first + tl.arange(0, E)
    at_LE = table + words_L.to(tl.int64)[:, None] * STRIDE + column_E[None, :]
    return at_LE, used_L[:, None] & (column_E < STRIDE)[None, :]


@triton.jit
def load_tile(table, words_L, used_L, first, STRIDE: tl.constexpr, E: tl.constexpr):
    """E numbers of some rows; zeros where there are none."""
    at_LE, there_LE = tile_at(table, words_L, used_L, first, STRIDE, E)
    # .cg: from the cache that all processors share, where the other programs' updates are.
    return tl.load(at_LE, mask=there_LE, other=0.0, cache_modifier=".cg")


@triton.jit
def subtract_tile(table, words_L, used_L, first, step_LE, STRIDE: tl.constexpr, E: tl.constexpr):
    """Takes a step off E numbers of some rows, as they are by then."""
    at_LE, there_LE = tile_at(table, words_L, used_L, first, STRIDE, E)
    tl.atomic_add(at_LE, -step_LE, mask=there_LE, sem="relaxed")


@triton.jit
def adagrad_rate(sum_V, words_L, used_L, square_L, lr, DIM: tl.constexpr):
    """The learning rate of each row once its squared gradient is in its accumulator."""
    mean_L = square_L / DIM
    before_L = tl.atomic_add(sum_V + words_L, mean_L, mask=used_L, sem="relaxed")
    return lr * tl.rsqrt(tl.where(used_L, before_L + mean_L, 1.0))


@triton.jit
def words_at(
    words_N, noise_XJ, block, slot_L, T: tl.constexpr, W: tl.constexpr, J: tl.constexpr
):  # fmt: skip
    """The targets of a block at these slots: the H words around it, J of noise, then UNK_ID."""
    H: tl.constexpr = T + 2 * W
    around_L = tl.load(words_N + block * T + slot_L, mask=slot_L < H, other=0)
    is_noise_L = (slot_L >= H) & (slot_L < H + J)
    noise_L = tl.load(noise_XJ + block * J + slot_L - H, mask=is_noise_L, other=0)
    return around_L + noise_L, is_noise_L


@triton.jit
def is_context(slot_L, left_C, right_C, T: tl.constexpr, W: tl.constexpr, C: tl.constexpr):
    """Which slots are contexts of which center: `batches.blocked_batch` in numbers of slots."""
    # Where the word stands relative to the center: -1 is the word just before it.
    offset_CL = slot_L[None, :] - (tl.arange(0, C)[:, None] + W)
    inside_CL = (offset_CL >= -left_C[:, None]) & (offset_CL <= right_C[:, None])
    return inside_CL & (offset_CL != 0) & (slot_L < T + 2 * W)[None, :]


@triton.jit
def is_scored_noise(
    words_N, noise_XJ, block, words_L, is_noise_L, left_C, right_C,
    T: tl.constexpr, W: tl.constexpr, J: tl.constexpr, C: tl.constexpr, L: tl.constexpr,
    AVOID: tl.constexpr,
):  # fmt: skip
    """Which targets are noise that counts for which center."""
    scored_CL = (left_C + right_C > 0)[:, None] & is_noise_L[None, :]
    if AVOID:
        clashes_CL = tl.zeros((C, L), tl.float32)
        for first in range(0, T + 2 * W, L):
            slot_L = first + tl.arange(0, L)
            around_L, _ = words_at(words_N, noise_XJ, block, slot_L, T, W, J)
            same_LL = (around_L[:, None] == words_L[None, :]).to(tl.float32)
            context_CL = is_context(slot_L, left_C, right_C, T, W, C).to(tl.float32)
            clashes_CL = tl.dot(context_CL, same_LL, clashes_CL)  # exact: small whole numbers
        scored_CL = scored_CL & (clashes_CL == 0)
    return scored_CL


@triton.jit
def noise_weights(
    words_N, noise_XJ, block, left_C, right_C,
    T: tl.constexpr, W: tl.constexpr, J: tl.constexpr, K: tl.constexpr, C: tl.constexpr,
    L: tl.constexpr, AVOID: tl.constexpr,
):  # fmt: skip
    """What each noise word of a center weighs, and what all its targets weigh together.

    A center's noise weighs K for each of its contexts, however much of it is scored.
    """
    num_noise_C = tl.zeros((C,), tl.int32)
    for first in range(0, T + 2 * W + J, L):
        slot_L = first + tl.arange(0, L)
        words_L, is_noise_L = words_at(words_N, noise_XJ, block, slot_L, T, W, J)
        scored_CL = is_scored_noise(
            words_N, noise_XJ, block, words_L, is_noise_L, left_C, right_C, T, W, J, C, L, AVOID
        )
        num_noise_C += tl.sum(scored_CL.to(tl.int32), axis=1)
    num_contexts_C = left_C + right_C
    noise_C = tl.where(num_noise_C > 0, num_contexts_C * K, 0).to(tl.float32)
    each_C = noise_C / tl.maximum(num_noise_C, 1).to(tl.float32)
    return each_C, tl.maximum(num_contexts_C.to(tl.float32) + noise_C, 1.0)


@triton.jit
def meet(
    center_VD, context_VD, center_state_V, context_state_V, words_C, scored_C, words_L,
    label_CL, weight_CL, scale_C, lr, center_frozen_V, context_frozen_V,
    DIM: tl.constexpr, STRIDE: tl.constexpr, C: tl.constexpr, L: tl.constexpr, E: tl.constexpr,
    STEADY: tl.constexpr, ADAGRAD: tl.constexpr, FROZEN: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """The centers of a block meet L targets; all rows that are not frozen take their steps.

    Returns the weighted loss of each center.
    """
    used_L = (tl.max(weight_CL, axis=0) > 0) & (words_L > 0)
    center_CE = load_tile(center_VD, words_C, scored_C, 0, STRIDE, E)
    target_LE = load_tile(context_VD, words_L, used_L, 0, STRIDE, E)
    logit_CL = tl.dot(center_CE, tl.trans(target_LE), input_precision=PRECISION)
    for first in range(E, STRIDE, E):
        more_CE = load_tile(center_VD, words_C, scored_C, first, STRIDE, E)
        more_LE = load_tile(context_VD, words_L, used_L, first, STRIDE, E)
        logit_CL = tl.dot(more_CE, tl.trans(more_LE), logit_CL, input_precision=PRECISION)
    # softplus(x) - label * x, as in `model.masked_bce`
    softplus_CL = tl.maximum(logit_CL, 0.0) + tl.log(1.0 + tl.exp(-tl.abs(logit_CL)))
    loss_C = tl.sum((softplus_CL - label_CL * logit_CL) * weight_CL, axis=1)
    error_CL = (tl.sigmoid(logit_CL) - label_CL) * weight_CL * scale_C[:, None]
    error_LC = tl.trans(error_CL)
    gradient_CE = tl.dot(error_CL, target_LE, input_precision=PRECISION)
    gradient_LE = tl.dot(error_LC, center_CE, input_precision=PRECISION)
    moved_C, moved_L = scored_C, used_L
    if FROZEN:
        moved_C = scored_C & (tl.load(center_frozen_V + words_C, mask=scored_C, other=1) == 0)
        moved_L = used_L & (tl.load(context_frozen_V + words_L, mask=used_L, other=1) == 0)
    rate_C, rate_L = tl.full((C,), lr, tl.float32), tl.full((L,), lr, tl.float32)
    if STEADY:
        rate_C *= tl.load(center_state_V + words_C, mask=scored_C, other=0.0)
        rate_L *= tl.load(context_state_V + words_L, mask=used_L, other=0.0)
    if ADAGRAD:
        square_C = tl.sum(gradient_CE * gradient_CE, axis=1)
        square_L = tl.sum(gradient_LE * gradient_LE, axis=1)
        for first in range(E, STRIDE, E):
            more_CE = load_tile(center_VD, words_C, scored_C, first, STRIDE, E)
            more_LE = load_tile(context_VD, words_L, used_L, first, STRIDE, E)
            step_CE = tl.dot(error_CL, more_LE, input_precision=PRECISION)
            step_LE = tl.dot(error_LC, more_CE, input_precision=PRECISION)
            square_C += tl.sum(step_CE * step_CE, axis=1)
            square_L += tl.sum(step_LE * step_LE, axis=1)
        rate_C = adagrad_rate(center_state_V, words_C, moved_C, square_C, lr, DIM)
        rate_L = adagrad_rate(context_state_V, words_L, moved_L, square_L, lr, DIM)
    for first in range(E, STRIDE, E):
        more_CE = load_tile(center_VD, words_C, scored_C, first, STRIDE, E)
        more_LE = load_tile(context_VD, words_L, used_L, first, STRIDE, E)
        step_CE = rate_C[:, None] * tl.dot(error_CL, more_LE, input_precision=PRECISION)
        step_LE = rate_L[:, None] * tl.dot(error_LC, more_CE, input_precision=PRECISION)
        subtract_tile(center_VD, words_C, moved_C, first, step_CE, STRIDE, E)
        subtract_tile(context_VD, words_L, moved_L, first, step_LE, STRIDE, E)
    subtract_tile(center_VD, words_C, moved_C, 0, rate_C[:, None] * gradient_CE, STRIDE, E)
    subtract_tile(context_VD, words_L, moved_L, 0, rate_L[:, None] * gradient_LE, STRIDE, E)
    return loss_C


@triton.jit(do_not_specialize=["num_blocks", "first_lr", "last_lr"])
def train_blocks(
    center_VD, context_VD, center_state_V, context_state_V, center_frozen_V, context_frozen_V,
    words_N, left_N, right_N, noise_XJ, loss_sum, centers, num_blocks, first_lr, last_lr,
    DIM: tl.constexpr, STRIDE: tl.constexpr, T: tl.constexpr, W: tl.constexpr,
    J: tl.constexpr, K: tl.constexpr, C: tl.constexpr, L: tl.constexpr, E: tl.constexpr,
    AVOID: tl.constexpr, CENTER_MEAN: tl.constexpr, STEADY: tl.constexpr,
    ADAGRAD: tl.constexpr, FROZEN: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Trains on the blocks of a span; each program on a stretch of its own.

    Programs that run at the same time are far apart in the text, so that they seldom meet at the
    rare words of one subject. W words of padding stand before the first of `words_N`. The states
    are the accumulators of Adagrad, or the factors of steadied descent. The frozen rows of both
    tables are marked by a 1; without FROZEN nothing is read there.
    """
    programs = tl.num_programs(0)
    begin = (tl.program_id(0).to(tl.int64) * num_blocks) // programs
    end = ((tl.program_id(0) + 1).to(tl.int64) * num_blocks) // programs
    slot_C = tl.arange(0, C)
    told_loss, told_centers = tl.full((), 0.0, tl.float64), tl.full((), 0, tl.int64)
    for block in range(begin, end):
        left_C = tl.load(left_N + block * T + slot_C, mask=slot_C < T, other=0)
        right_C = tl.load(right_N + block * T + slot_C, mask=slot_C < T, other=0)
        scored_C = left_C + right_C > 0
        num_scored = tl.sum(scored_C.to(tl.int64))
        if num_scored > 0:
            lr = first_lr + (last_lr - first_lr) * ((block - begin) / (end - begin))
            words_C = tl.load(words_N + block * T + W + slot_C, mask=slot_C < T, other=0)
            each_C, weight_C = noise_weights(
                words_N, noise_XJ, block, left_C, right_C, T, W, J, K, C, L, AVOID
            )
            scale_C = tl.full((C,), 1.0, tl.float32)
            if CENTER_MEAN:
                scale_C = 1.0 / weight_C
            loss_C = tl.zeros((C,), tl.float32)
            for first in range(0, T + 2 * W + J, L):
                slot_L = first + tl.arange(0, L)
                words_L, is_noise_L = words_at(words_N, noise_XJ, block, slot_L, T, W, J)
                label_CL = is_context(slot_L, left_C, right_C, T, W, C).to(tl.float32)
                scored_CL = is_scored_noise(
                    words_N, noise_XJ, block, words_L, is_noise_L, left_C, right_C,
                    T, W, J, C, L, AVOID,
                )  # fmt: skip
                loss_C += meet(
                    center_VD, context_VD, center_state_V, context_state_V,
                    words_C, scored_C, words_L,
                    label_CL, label_CL + scored_CL.to(tl.float32) * each_C[:, None], scale_C, lr,
                    center_frozen_V, context_frozen_V,
                    DIM, STRIDE, C, L, E, STEADY, ADAGRAD, FROZEN, PRECISION,
                )  # fmt: skip
            told_loss += tl.sum(loss_C / weight_C).to(tl.float64)
            told_centers += num_scored
    tl.atomic_add(loss_sum, told_loss, sem="relaxed")
    tl.atomic_add(centers, told_centers, sem="relaxed")
