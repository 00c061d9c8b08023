"""The kernels: each trains the tables on a run of sentences, in place.

`bmm` is the canonical one, on any torch device. What a kernel must offer is the signature of
`bmm.train_span`; `choose` picks one by name or by what the machine has, and says why.
"""

from typing import Literal, NamedTuple

KernelName = Literal["auto", "bmm"]


class Choice(NamedTuple):
    """A kernel and why it was taken."""

    name: str
    reason: str


def choose(name: KernelName) -> Choice:
    """The kernel of that name, or the best one at hand for "auto"."""
    if name == "auto":
        return Choice("bmm", "the kernel that has every optimizer and runs on any device")
    return Choice(name, "as configured")
