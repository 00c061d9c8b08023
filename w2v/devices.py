"""Which device trains: the one asked for, or the best one here, and why."""

from typing import Literal, NamedTuple

import torch

from w2v.errors import ConfigError

DeviceName = Literal["auto", "cpu", "cuda", "mps"]


class Choice(NamedTuple):
    """A device and why it was taken."""

    device: torch.device
    reason: str


def choose(name: DeviceName) -> Choice:
    """The device of that name; for "auto" a GPU where torch finds one.

    Raises:
        ConfigError: the device was asked for by name and is not here.
    """
    present = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        best = next(device for device, here in present.items() if here)
        reason = "no GPU that torch can use" if best == "cpu" else "a GPU is here"
        return Choice(torch.device(best), reason)
    if not present[name]:
        cuda = torch.version.cuda
        build = f"for CUDA {cuda}" if cuda else "without CUDA"
        raise ConfigError(
            f"train.device={name}: torch {torch.__version__}, built {build}, finds none",
            hint="use train.device=auto, or cpu",
        )
    return Choice(torch.device(name), "as configured")
