"""What every kernel offers the training loop, and what it says while it trains.

A kernel module has a `KERNEL`. Its `prepare` gets the model, the sampler and the optimizer once,
checks that it can train them and makes ready all that lasts; the function that it returns trains
on one span of text after the other.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

from torch import Tensor

from w2v.draws import SpanText, Streams


class Tally(NamedTuple):
    """The loss of some centers, left on the device so that nobody waits for it."""

    loss_sum: Tensor  # 0-d, of the finest float the device has
    centers: Tensor  # 0-d int64: how many were scored


class Step(NamedTuple):
    """What a kernel says after each update, or after many where they are small."""

    tally: Tally
    done: float  # share of the span, 0 to 1


class TrainSpan(Protocol):
    """Trains on a run of sentences, in place; yields after each step."""

    def __call__(
        self, text: SpanText, *, lr: tuple[float, float], streams: Streams, skip: int = 0
    ) -> Iterator[Step]:
        """One span.

        Args:
            text: its sentences, on the model's device.
            lr: learning rate at the first and the last center; linear between them.
            streams: all that is random; of the model's device.
            skip: steps of the span that are passed over: an earlier run did them.
        """


class Kernel(NamedTuple):
    """A kernel as the loop sees it."""

    prepare: Callable[..., TrainSpan]  # see `prepare` of bmm
    row_multiple: int  # table rows lie a multiple of so many floats apart
    span_words: int  # ids of a span, at most
    sync_words: int  # ids of all of several processes between two merges, by default
    step_words: int = 1 << 14  # ids that it may train on before it tells of a step
    goes_on: bool = False  # its threads train on while a step is told
