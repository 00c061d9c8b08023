"""Steps whose sizes and addresses never change, for a device that must not be kept waiting.

`batches.steps` makes batches as large as what was drawn, which the host learns only by waiting for
the device. Here a span, which has room for all that it can hold, is copied to memory that stays. A
step finds its centers by a counter that lives on the device, so that every step is the same
operations on the same addresses: they can be recorded once and replayed.

The batches are those of `batches`. What a span has room for and did not keep are places without
contexts, shuffled among the others: in a span of a million words a hundredth of a step's centers.

Legend: as in `batches`; R = blocks of a step, X = blocks of the longest span.
"""

import torch
from torch import Tensor

from w2v.batches import Batch, blocked_batch, contexts_at, draw_steadily, textbook_batch
from w2v.draws import Sampler, Span, Streams, draw_noise
from w2v.vocab import UNK_ID

LASTING_ROWS = 1 << 16  # centers whose lasting negatives are drawn at once


class FixedSteps:
    """The steps of one span after the other; until the first comes, all places are empty."""

    def __init__(self, sampler: Sampler, *, batch_size: int, most_words: int) -> None:
        """Takes the memory.

        Args:
            sampler: the sizes of the batches; its tensors are on the device.
            batch_size: centers in a step, a multiple of the sampler's block.
            most_words: words of the longest span.
        """
        T, W, device = sampler.block, sampler.window, sampler.noise_cdf_V.device
        self.draws = torch.Generator(device)  # of what a step draws
        self._sampler = sampler
        self._R, self._X = max(1, batch_size // T), -(-most_words // T)
        self._words = torch.full((W + (self._X + 1) * T + W,), UNK_ID, device=device)
        self._span = Span(  # its last block stays empty
            self._words[W : len(self._words) - W],
            left_N=torch.zeros((self._X + 1) * T, dtype=torch.int64, device=device),
            right_N=torch.zeros((self._X + 1) * T, dtype=torch.int64, device=device),
        )
        self._order_X = torch.full((self._X + self._R,), self._X, device=device)
        self._lane_R = torch.arange(self._R, device=device)
        self._passed = torch.zeros((), dtype=torch.int64, device=device)  # blocks of this span
        self._lasting: Tensor | None = None
        if not sampler.redraw:
            width = sampler.shared_negatives or 2 * W * sampler.negatives
            shape = (self._X + 1, width)
            self._lasting = torch.full(shape, UNK_ID, dtype=torch.int32, device=device)

    def load(self, span: Span, streams: Streams) -> int:
        """Takes in a span and shuffles its blocks; returns the number of its steps."""
        for mine, given in zip(self._span, span, strict=True):
            mine[: len(given)].copy_(given)
            mine[len(given) :].zero_()  # UNK_ID, and no contexts
        blocks = -(-len(span.words_N) // self._sampler.block)
        device = self._order_X.device
        order_X = torch.randperm(blocks, generator=streams.order, device=device)
        self._order_X[:blocks].copy_(order_X)
        self._order_X[blocks:].fill_(self._X)
        self._passed.zero_()
        self.draws.manual_seed(streams.draws.initial_seed() + 1)  # a stream of its own
        if self._lasting is not None:
            self._draw_lasting(self._lasting[:blocks])
        return -(-blocks // self._R)

    def next_batch(self) -> Batch:
        """The batch of the next step; what is beyond the last one is empty."""
        at_R = self._order_X[self._passed + self._lane_R]
        self._passed.add_(self._R).clamp_(max=self._X)  # from where all that follows is empty
        sampler, lasting = self._sampler, self._lasting
        if not sampler.shared_negatives:
            return textbook_batch(
                self._span, at_R, sampler, draws=self.draws, fixed_NM=lasting, steady=True
            )
        T, W = sampler.block, sampler.window
        shape = (self._R, sampler.shared_negatives)
        noise_RJ = (
            draw_noise(shape, sampler, self.draws) if lasting is None else lasting[at_R].long()
        )
        left_XT, right_XT = (of_N.view(-1, T)[at_R] for of_N in self._span[1:])
        words_RH = self._words.unfold(0, T + 2 * W, T)[at_R]
        return blocked_batch(words_RH, left_XT, right_XT, noise_RJ, sampler)

    def advance(self, steps: int) -> None:
        """Passes over so many steps; what they would have drawn, the next ones draw."""
        self._passed += steps * self._R

    def _draw_lasting(self, lasting_XM: Tensor) -> None:
        """The negatives of each block, in an order that is the same in every epoch."""
        at_X = torch.arange(len(lasting_XM), device=lasting_XM.device)
        for at_B in torch.split(at_X, LASTING_ROWS):
            if self._sampler.shared_negatives:
                drawn = draw_noise((len(at_B), lasting_XM.shape[1]), self._sampler, self.draws)
            else:
                contexts_BC = contexts_at(self._span, at_B, width=2 * self._sampler.window)
                drawn = draw_steadily(contexts_BC, self._sampler, self.draws)
            lasting_XM[at_B] = drawn.int()
