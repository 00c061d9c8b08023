"""The kernels: each trains the tables on a run of sentences, in place.

A kernel is a module with the signature of `bmm.train_span`, and a line of KERNELS. `bmm` is the
canonical one: it has every optimizer and runs on any device.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from w2v.config import KernelName
from w2v.kernels import bmm

KERNELS = {"bmm": bmm.train_span}


class Choice(NamedTuple):
    """A kernel and why it was taken."""

    name: str
    reason: str
    train_span: Callable[..., Iterator[bmm.Step]]


def choose(name: KernelName) -> Choice:
    """The kernel of that name; "auto" is the one there is."""
    reason = "it runs on any device" if name == "auto" else "as configured"
    chosen = "bmm" if name == "auto" else name
    return Choice(chosen, reason, KERNELS[chosen])
