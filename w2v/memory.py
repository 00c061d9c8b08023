"""What a run needs of its device's memory, and what is said where there is not enough.

Tables and optimizer are known to the byte before anything is taken; what batches and draws need
comes on top, and on a CPU the copy that becomes a checkpoint. So a vocabulary larger than the card
is refused before training, and whatever else runs out later is told in the same words.

Legend: V = words of the vocabulary, D = dimension.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

import torch

from w2v.devices import free_bytes
from w2v.errors import StorageError
from w2v.names import OptimizerName

# What torch says where an allocation fails: Linux, Windows, CUDA and MPS each in its own words.
OUT_OF_MEMORY = re.compile("can't allocate memory|not enough memory|out of memory|ALLOC_FAILED")
FLOAT_BYTES, LONG_BYTES = 4, 8


class Needs(NamedTuple):
    """Bytes that a run takes for as long as it trains."""

    vocab_size: int
    optimizer: OptimizerName
    table_bytes: int  # both tables, and their copy where several processes merge them
    optimizer_bytes: int

    def described(self) -> str:
        """In words, for an error."""
        words = f"the tables of {self.vocab_size:,} words take {self.table_bytes / 1e9:.1f} GB"
        return f"{words}, {self.optimizer} {self.optimizer_bytes / 1e9:.1f} GB, batches more"


def needs(
    *,
    vocab_size: int,
    dim: int,
    row_floats: int,
    optimizer: OptimizerName,
    are_merged: bool = False,
) -> Needs:
    """What tables and optimizer take.

    Args:
        vocab_size: V.
        dim: D.
        row_floats: how far apart the rows of a table lie.
        optimizer: see `optimizers` for what each remembers.
        are_merged: several processes merge their tables and the optimizer's state.
    """
    dense = 2 * vocab_size * dim * FLOAT_BYTES
    remembered = {
        "sgd": 0,
        "adagrad": vocab_size * (2 * FLOAT_BYTES + LONG_BYTES),  # two accumulators, and its slots
        "adam": 3 * dense,  # gradients and two moments
    }
    tables = 2 * vocab_size * row_floats * FLOAT_BYTES
    state = remembered[optimizer]
    if are_merged:
        tables, state = tables + dense, 2 * state
    return Needs(vocab_size, optimizer, tables, state)


def require_memory(needs: Needs, device: torch.device) -> None:
    """Refuses what a GPU has no room for; other devices are asked when memory is taken.

    Raises:
        StorageError: tables and optimizer take more than is free.
    """
    with memory_errors(needs, device):  # on a card that others have filled, asking fails
        free = free_bytes(device)
    if free is not None and needs.table_bytes + needs.optimizer_bytes > free:
        raise _too_little(needs, device, free)


@contextmanager
def memory_errors(needs: Needs, device: torch.device) -> Iterator[None]:
    """Turns memory that runs out, for which torch has several errors, into a StorageError."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and not OUT_OF_MEMORY.search(str(error)):
            raise
        free = None
        with suppress(RuntimeError):
            free = free_bytes(device)
        raise _too_little(needs, device, free) from error


def _too_little(needs: Needs, device: torch.device, free: int | None) -> StorageError:
    there = "" if free is None else f", and {free / 1e9:.1f} GB are free"
    if device.type == "cpu":  # where the copy of the tensors lies that is written beside training
        there = ", a checkpoint as much again while it is written"
    lighter = "" if needs.optimizer == "sgd" else ", or take a lighter optimizer"
    return StorageError(
        f"out of memory on {device}: {needs.described()}{there}",
        hint=f"lower model.dim, vocab.max_size or train.batch_size{lighter}",
    )
