"""The skip-gram model: twin embedding tables, their scores, and the masked loss.

Word ids enter, scores and losses leave. A word has two vectors: one as a center, one as a
context; the score of a pair is their dot product, its sigmoid the probability that the pair is
real rather than noise (Mikolov et al. 2013b, equation 4; d2l.ai 15.4).

Legend: V = words, D = dimension, B = blocks, T = centers in a block, L = targets of a block;
N = words whose vectors are known beforehand.
"""

import mmap
from contextlib import suppress
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from w2v.names import Init
from w2v.vocab import UNK_ID


class KnownRows(NamedTuple):
    """The vectors that some words have before they are trained."""

    ids_N: Tensor  # int64, each once, without `<unk>`
    center_ND: Tensor  # float32
    context_ND: Tensor | None  # None: known as centers only


class SkipGram(nn.Module):
    """Twin tables, `center` and `context`; the row of `<unk>` is zero and stays zero."""

    center: nn.Embedding
    context: nn.Embedding

    def __init__(
        self,
        vocab_size: int,
        dim: int,
        *,
        init: Init,
        generator: torch.Generator,
        row_multiple: int = 1,
    ) -> None:
        """Fills the tables on the CPU, so that a seed means the same tables on every device.

        Args:
            vocab_size: V, `<unk>` included.
            dim: D.
            init: "xavier" draws both tables from U(-a, a), a = sqrt(6 / (V + D)) (Glorot and
                Bengio 2010, as the chapter); "word2vec" draws centers from U(-0.5, 0.5) / D and
                starts contexts at zero (word2vec.c).
            generator: of the CPU.
            row_multiple: rows lie a multiple of so many floats apart; what is between stays zero.
        """
        super().__init__()
        stride = padded(dim, row_multiple)
        for name in ("center", "context"):
            table_VD = _zeros(vocab_size, stride)[:, :dim]
            setattr(self, name, nn.Embedding(vocab_size, dim, _weight=table_VD))
        with torch.no_grad():
            for table in (self.center.weight, self.context.weight):
                if init == "xavier":
                    nn.init.xavier_uniform_(table, generator=generator)
                elif table is self.center.weight:
                    table.uniform_(-0.5 / dim, 0.5 / dim, generator=generator)
                else:
                    table.zero_()
                table[UNK_ID] = 0.0

    @torch.no_grad()
    def take(self, known: KnownRows) -> None:
        """Puts known vectors into the tables, on the CPU, as they are; other rows stay."""
        self.center.weight[known.ids_N] = known.center_ND
        if known.context_ND is not None:
            self.context.weight[known.ids_N] = known.context_ND

    def forward(self, centers_BT: Tensor, targets_BL: Tensor) -> Tensor:
        """The scores (B, T, L) of every center against every target of its block."""
        return torch.bmm(self.center(centers_BT), self.context(targets_BL).mT)

    def on(self, device: torch.device) -> Self:
        """The model on that device, rows as far apart as they were."""
        for table in (self.center, self.context):
            rows_VD = table.weight.detach()
            whole = rows_VD.as_strided((len(rows_VD), rows_VD.stride(0)), (rows_VD.stride(0), 1))
            table.weight = nn.Parameter(whole.to(device)[:, : rows_VD.shape[1]])
        return self


def padded(size: int, grain: int) -> int:
    """The next multiple of `grain`."""
    return -(-size // grain) * grain


def _zeros(rows: int, columns: int) -> Tensor:
    """A matrix of zeros that begins on a page, in huge pages where there are any.

    Training reads rows in no order; with small pages it would wait for addresses, too.
    """
    private = getattr(mmap, "MAP_PRIVATE", 0) | getattr(mmap, "MAP_ANONYMOUS", 0)
    try:
        memory = mmap.mmap(
            -1, max(rows * columns * 4, 1), **({"flags": private} if private else {})
        )
    except (OSError, OverflowError) as error:
        raise MemoryError(str(error)) from error
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):  # it is only advice
            memory.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(memory, dtype=torch.float32, count=rows * columns).view(rows, columns)


class CenterLoss(NamedTuple):
    """What `masked_bce` finds for each center."""

    loss_BT: Tensor  # the weighted mean of BCE over the center's scored targets; 0 without one
    weight_BT: Tensor  # the weight of those targets; 0 where nothing is scored


def whole_sum(table_VD: Tensor) -> Tensor:
    """The sum of a table's memory, with the zeros between its rows: one run is read faster."""
    return table_VD.as_strided((table_VD.shape[0] * table_VD.stride(0),), (1,)).sum()


def masked_bce(logits_BTL: Tensor, labels_BTL: Tensor, weights_BTL: Tensor) -> CenterLoss:
    """Binary cross-entropy of the sigmoid of the scores, averaged over each center's targets.

    This is the one place where the loss is normalized. A model that knows nothing, all scores
    0, has loss ln 2 = 0.693 at every center.
    """
    # -label * log(sigmoid(x)) - (1 - label) * log(1 - sigmoid(x)) = softplus(x) - label * x
    bce_BTL = torch.addcmul(F.softplus(logits_BTL), logits_BTL, labels_BTL, value=-1)
    weight_BT = weights_BTL.sum(dim=2)
    return CenterLoss((bce_BTL * weights_BTL).sum(dim=2) / divisor(weight_BT), weight_BT)


def divisor(weight_BT: Tensor) -> Tensor:
    """The weight of each center's targets, and 1 where nothing is scored."""
    return weight_BT.masked_fill(weight_BT == 0, 1.0)
