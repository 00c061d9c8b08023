"""Which kernel a run takes, and why."""

import os
import sysconfig
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from shutil import which
from typing import NamedTuple

import torch

from w2v.config import DistributedSection, ModelSection, SamplingSection, TrainSection, obstacles
from w2v.errors import ConfigError
from w2v.kernels.interface import Kernel
from w2v.names import KernelName

# The GPUs that have what the triton kernel is compiled for: NVIDIA's since Ampere.
LEAST_CAPABILITY = (8, 0)
PLAIN_MODEL, PLAIN_GROUP = ModelSection(), DistributedSection()


class KernelChoice(NamedTuple):
    """A kernel and why it was taken."""

    name: str
    reason: str
    kernel: Kernel


def choose_kernel(
    train: TrainSection,
    sampling: SamplingSection,
    device: torch.device,
    *,
    model: ModelSection = PLAIN_MODEL,
    distributed: DistributedSection = PLAIN_GROUP,
) -> KernelChoice:
    """The kernel that `train.kernel` names; for "auto" the fastest that honors every setting.

    Raises:
        ConfigError: the kernel was asked for by name and cannot run here.
    """
    if train.kernel != "auto":
        if train.kernel == "triton" and (missing := missing_for_triton(device)):
            raise ConfigError(
                f"train.kernel=triton needs {missing}", hint="use train.kernel=auto, or bmm"
            )
        return _load(train.kernel, "as configured")
    fastest: dict[str, KernelName] = {"cpu": "hogwild", "cuda": "triton"}
    if device.type not in fastest:
        return _load("bmm", f"it runs on {device.type}")
    name = fastest[device.type]
    for key, need in obstacles(name, model, sampling, train, distributed):
        return _load("bmm", f"{name}, which is faster, needs {key} to be {need}")
    if name == "triton" and (missing := missing_for_triton(device)):
        return _load("bmm", f"triton, which is faster, needs {missing}")
    kind = "CPU" if device.type == "cpu" else "GPU"
    return _load(name, f"the fastest on a {kind}, and it has {train.optimizer}")


def missing_for_triton(device: torch.device) -> str | None:
    """What the triton kernel lacks here, or None."""
    if find_spec("triton") is None:
        return "the package triton: pip install triton"
    if os.environ.get("TRITON_INTERPRET") == "1":  # runs on a CPU, slowly
        return None if device.type == "cpu" else "TRITON_INTERPRET to be unset: there is a GPU"
    if device.type != "cuda":
        return f"a GPU; the device is {device.type}"
    if torch.version.hip is not None:
        return "an NVIDIA GPU; this torch is built for AMD's"
    capability = torch.cuda.get_device_capability(device)
    if capability < LEAST_CAPABILITY:
        least, found = (".".join(map(str, one)) for one in (LEAST_CAPABILITY, capability))
        return f"a GPU of compute capability {least} or more; this one has {found}"
    # Triton builds the few lines that start a program with CC, which is one word, gcc or clang.
    if not any(map(which, [os.environ["CC"]] if "CC" in os.environ else ["gcc", "clang"])):
        return "a C compiler: install gcc, or set CC to one"
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        return "Python's headers: install python3-dev"
    return None


def _load(name: KernelName, reason: str) -> KernelChoice:
    kernel: Kernel = import_module(f"w2v.kernels.{name}").KERNEL
    return KernelChoice(name, reason, kernel)
