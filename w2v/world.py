"""The processes that train one model together, and which of them this one is.

The environment enters, as torchrun and batch systems set it; a `World` leaves. Nothing here needs
torch: who may speak is known before anything heavy is imported. `group` lets the processes talk.

    RANK, WORLD_SIZE                this process, of so many
    LOCAL_RANK, LOCAL_WORLD_SIZE    the same within this host; by default each has a host of its own
    MASTER_ADDR, MASTER_PORT        where they find each other
    TORCHELASTIC_RESTART_COUNT      how often torchrun has started them anew

Without RANK and WORLD_SIZE a process is alone.
"""

import os
from collections.abc import Mapping
from typing import NamedTuple

from w2v.errors import ConfigError

HINT = "torchrun sets them all: torchrun --nproc-per-node=2 -m w2v train ..."
MOST_PROCESSES = 2**16


class World(NamedTuple):
    """A process among those that train one model."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0  # on this host
    local_size: int = 1
    restarts: int = 0  # of all of them, by torchrun
    address: str = ""  # where the first one listens
    port: int = 0

    @property
    def is_first(self) -> bool:
        """Whether this process speaks and writes the run."""
        return self.rank == 0

    @property
    def is_first_here(self) -> bool:
        """Whether this process is the one of its host that builds what all of the host use."""
        return self.local_rank == 0


ALONE = World()


def world_of(environment: Mapping[str, str] = os.environ) -> World:
    """The place of this process, as the environment tells it.

    Raises:
        ConfigError: a variable is missing, is no number, or contradicts another.
    """
    if "RANK" not in environment and "WORLD_SIZE" not in environment:
        return ALONE
    size = _number(environment, "WORLD_SIZE", least=1, below=MOST_PROCESSES)
    rank = _number(environment, "RANK", least=0, below=size)
    restarts = _number(environment, "TORCHELASTIC_RESTART_COUNT", default=0)
    if size == 1:
        return World(restarts=restarts)
    address = environment.get("MASTER_ADDR", "")
    if not address:
        raise ConfigError(f"RANK={rank} is set, MASTER_ADDR is not", hint=HINT)
    local_size = _number(environment, "LOCAL_WORLD_SIZE", default=1, least=1, below=size + 1)
    return World(
        rank,
        size,
        _number(environment, "LOCAL_RANK", default=0, below=local_size),
        local_size,
        restarts,
        address,
        _number(environment, "MASTER_PORT", least=1, below=2**16),
    )


def _number(
    environment: Mapping[str, str],
    name: str,
    *,
    default: int | None = None,
    least: int = 0,
    below: int = 2**31,
) -> int:
    """The whole number that a variable holds."""
    text = environment.get(name)
    if text is None and default is not None:
        return default
    if text is None:
        beside = "RANK" if "RANK" in environment else "WORLD_SIZE"
        raise ConfigError(f"{beside} is set, {name} is not", hint=HINT)
    if not (text.isascii() and text.isdigit() and len(text) < 10 and least <= int(text) < below):
        raise ConfigError(f"{name}={text!r}: expected a number from {least} to {below - 1}")
    return int(text)
