"""The kernels: each trains the tables on spans of text, in place, and which one a run takes.

A kernel is a module with a `KERNEL` (see `interface`) and a name in the config. `bmm` is the
canonical one: it has every setting and runs on any device. A kernel's module is imported only
when it is taken, since compilers are slow to load.
"""

from importlib import import_module
from typing import NamedTuple

import torch

from w2v.config import SamplingSection, TrainSection, hogwild_obstacles
from w2v.kernels.interface import Kernel


class Choice(NamedTuple):
    """A kernel and why it was taken."""

    name: str
    reason: str
    kernel: Kernel


def choose(train: TrainSection, sampling: SamplingSection, device: torch.device) -> Choice:
    """The kernel that `train.kernel` names; for "auto" the fastest that honors every setting."""
    if train.kernel != "auto":
        return _load(train.kernel, "as configured")
    if device.type != "cpu":
        return _load("bmm", f"it runs on {device.type}")
    for key, need in hogwild_obstacles(sampling, train):
        return _load("bmm", f"hogwild, which is faster, needs {key} to be {need}")
    return _load("hogwild", f"the fastest on a CPU, and it has {train.optimizer}")


def _load(name: str, reason: str) -> Choice:
    kernel: Kernel = import_module(f"w2v.kernels.{name}").KERNEL
    return Choice(name, reason, kernel)
