"""Which device trains: the one asked for, or the best one here, and why; how many threads."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch

from w2v.cores import usable_cores
from w2v.errors import ConfigError
from w2v.names import DeviceName
from w2v.world import ALONE, World


class Choice(NamedTuple):
    """A device and why it was taken."""

    device: torch.device
    reason: str


def choose(name: DeviceName, *, only_cpu: bool = False, world: World = ALONE) -> Choice:
    """The device of that name; for "auto" a GPU where torch finds one, unless the kernel has none.

    Several processes on one host take a GPU each.

    Raises:
        ConfigError: the device was asked for by name and is not here, or there are too few.
    """
    choice = _choose(name, only_cpu=only_cpu)
    if choice.device.type != "cuda" or world.size == 1:
        return choice
    if world.local_size > torch.cuda.device_count():
        raise ConfigError(
            f"{world.local_size} processes on this host, but {torch.cuda.device_count()} GPUs",
            hint="start one for each GPU, or use train.device=cpu",
        )
    device = torch.device("cuda", world.local_rank)
    torch.cuda.set_device(device)
    return choice._replace(device=device)


def _choose(name: DeviceName, *, only_cpu: bool) -> Choice:
    present = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto" and only_cpu:
        return Choice(torch.device("cpu"), "the kernel runs on a CPU")
    if name == "auto":
        best = next(device for device, here in present.items() if here)
        reason = "torch finds no GPU" if best == "cpu" else "the GPU that torch finds"
        return Choice(torch.device(best), reason)
    if not present[name]:
        build = f"for CUDA {torch.version.cuda}" if torch.version.cuda else "without CUDA"
        cuda = f", built {build}" if name == "cuda" else ""
        raise ConfigError(
            f"train.device={name}: torch {torch.__version__}{cuda}, finds none here",
            hint="use train.device=auto, or cpu",
        )
    return Choice(torch.device(name), "as configured")


def free_bytes(device: torch.device) -> int | None:
    """The memory that is free on a GPU; None where that cannot be asked."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else None


def finest_float(device: torch.device) -> torch.dtype:
    """The float that sums and cumulative distributions are kept in; MPS has no float64."""
    return torch.float32 if device.type == "mps" else torch.float64


@contextmanager
def cpu_threads(number: int | None, *, world: World = ALONE) -> Iterator[None]:
    """Lets torch and the kernels use so many CPU threads, and afterwards as many as before.

    None leaves torch's choice, which several processes on one host share.
    """
    before = torch.get_num_threads()
    if number is None and world.local_size > 1:
        number = max(1, usable_cores() // world.local_size)
    if number is not None:
        torch.set_num_threads(number)
    try:
        yield
    finally:
        if number is not None:
            torch.set_num_threads(before)
