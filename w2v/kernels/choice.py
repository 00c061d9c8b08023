"""Which kernel a run takes, and why."""

from importlib import import_module
from typing import NamedTuple

import torch

from w2v.config import SamplingSection, TrainSection, hogwild_obstacles
from w2v.kernels.interface import Kernel


class KernelChoice(NamedTuple):
    """A kernel and why it was taken."""

    name: str
    reason: str
    kernel: Kernel


def choose_kernel(
    train: TrainSection, sampling: SamplingSection, device: torch.device
) -> KernelChoice:
    """The kernel that `train.kernel` names; for "auto" the fastest that honors every setting."""
    if train.kernel != "auto":
        return _load(train.kernel, "as configured")
    if device.type != "cpu":
        return _load("bmm", f"it runs on {device.type}")
    for key, need in hogwild_obstacles(sampling, train):
        return _load("bmm", f"hogwild, which is faster, needs {key} to be {need}")
    return _load("hogwild", f"the fastest on a CPU, and it has {train.optimizer}")


def _load(name: str, reason: str) -> KernelChoice:
    kernel: Kernel = import_module(f"w2v.kernels.{name}").KERNEL
    return KernelChoice(name, reason, kernel)
