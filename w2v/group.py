"""How the processes of a `World` talk: sums, greatest values, copies of the first one's.

A `World` and a store that all can reach enter (`rendezvous`), a `Group` leaves. Alone, every
operation is the identity, so that whoever uses a group need not ask whether there is another
process. With several it is torch.distributed: gloo between CPUs, nccl between GPUs.

A wait is a loop of short pauses: signals are handled in them, which a wait inside torch would hold
up. Who is waited for in vain is told by the store, where each who gives up signs: a process that
has not signed has stopped.
"""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from queue import Empty, SimpleQueue
from typing import Any, Protocol, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import PrefixStore, Store  # type: ignore[attr-defined]

from w2v.errors import PeerError, W2VError
from w2v.world import ALONE, World

Result = TypeVar("Result")

JOIN_S = 300.0  # hosts of a batch system do not start at once
PATIENT_S = 30 * 86_400.0  # while one process builds a corpus, the others wait
HANDSHAKE_S = 5.0
SURVEY_S = 2.0  # in which all who are alive notice that somebody is not
PAUSE_S = 0.0002
CALM_PAUSE_S = 0.05

log = logging.getLogger(__name__)


class Group(Protocol):
    """What the processes do together; all of them call the same operations in the same order."""

    @property
    def world(self) -> World:
        """Which of them this one is."""

    def total(self, values: Tensor) -> Tensor:
        """Adds up the values of all processes, in place; returns them."""

    def begin_total(self, values: Tensor) -> Callable[[], Tensor]:
        """Begins `total`; what it returns waits for the sum."""

    def most(self, values: Tensor) -> Tensor:
        """The greatest of all processes' values, in place; returns them."""

    def spread(self, values: Tensor) -> Tensor:
        """Overwrites the values with those of the first process; returns them."""

    def gather(self, told: bytes) -> list[bytes]:
        """What each process tells, by rank; it may take its time."""

    def hurry(self, timeout_s: float) -> None:
        """From now on a process that does not answer for so long has stopped."""

    def tell(self, error: W2VError) -> None:
        """Says why this process is about to stop, to those who will notice."""

    def close(self) -> None:
        """Ends the connections."""


class Alone:
    """The group of one."""

    world = ALONE

    def __init__(self, world: World = ALONE) -> None:
        self.world = world

    def total(self, values: Tensor) -> Tensor:
        """The values."""
        return values

    def begin_total(self, values: Tensor) -> Callable[[], Tensor]:
        """The values, later."""
        return lambda: values

    def most(self, values: Tensor) -> Tensor:
        """The values."""
        return values

    def spread(self, values: Tensor) -> Tensor:
        """The values."""
        return values

    def gather(self, told: bytes) -> list[bytes]:
        """What was told."""
        return [told]

    def hurry(self, timeout_s: float) -> None:
        """Nobody is waited for."""

    def tell(self, error: W2VError) -> None:
        """Nobody is there."""

    def close(self) -> None:
        """Nothing is open."""


class Peers:
    """Several processes, through torch.distributed."""

    def __init__(self, world: World, store: Store) -> None:
        """Waits until all have come.

        Raises:
            PeerError: one did not come within JOIN_S.
        """
        self.world, self._store = world, store
        self._prompt: dist.ProcessGroup | None = None
        self._await_all()
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        try:
            dist.init_process_group(
                backend,
                store=PrefixStore("torch", store),
                rank=world.rank,
                world_size=world.size,
                timeout=timedelta(seconds=JOIN_S),
            )
            self._patient = dist.new_group(timeout=timedelta(seconds=PATIENT_S))
        except RuntimeError as error:
            raise self._stopped(error) from error

    def total(self, values: Tensor) -> Tensor:
        """The sum; see `Group`. Raises `PeerError`."""
        return self.begin_total(values)()

    def begin_total(self, values: Tensor) -> Callable[[], Tensor]:
        """The sum, later; see `Group`. Raises `PeerError`."""
        work = dist.all_reduce(values, group=self._prompt, async_op=True)

        def wait() -> Tensor:
            self._finish(work)
            return values

        return wait

    def most(self, values: Tensor) -> Tensor:
        """The greatest; see `Group`. Raises `PeerError`."""
        kind = dist.ReduceOp.MAX
        self._finish(dist.all_reduce(values, kind, group=self._prompt, async_op=True))
        return values

    def spread(self, values: Tensor) -> Tensor:
        """The first one's; see `Group`. Raises `PeerError`."""
        self._finish(dist.broadcast(values, 0, group=self._prompt, async_op=True))
        return values

    def gather(self, told: bytes) -> list[bytes]:
        """What each tells; see `Group`. Raises `PeerError`."""
        sizes = self._gather(torch.tensor([len(told)]))
        room = torch.zeros(max(map(int, sizes)), dtype=torch.uint8)
        if told:
            room[: len(told)] = torch.frombuffer(bytearray(told), dtype=torch.uint8)
        found = self._gather(room) if len(room) else [room] * self.world.size
        return [
            bytes(of_one[: int(size)].tolist()) for of_one, size in zip(found, sizes, strict=True)
        ]

    def hurry(self, timeout_s: float) -> None:
        """Sets the limit; see `Group`. Raises `PeerError`."""
        try:
            self._prompt = dist.new_group(timeout=timedelta(seconds=timeout_s))
        except RuntimeError as error:
            raise self._stopped(error) from error

    def tell(self, error: W2VError) -> None:
        """Leaves the reason where the others look; see `Group`."""
        try:
            self._store.set(f"failed/{self.world.rank}", str(error))
        except RuntimeError:
            log.debug("the store is gone")  # with the process that kept it

    def close(self) -> None:
        """Ends the connections; see `Group`."""
        dist.destroy_process_group()

    def _gather(self, values: Tensor) -> list[Tensor]:
        found = [torch.zeros_like(values) for _ in range(self.world.size)]
        self._finish(
            dist.all_gather(found, values, group=self._patient, async_op=True),
            longest_pause_s=CALM_PAUSE_S,
        )
        return found

    def _finish(self, work: Any, *, longest_pause_s: float = PAUSE_S) -> None:
        pause_s = PAUSE_S
        try:
            while not work.is_completed():
                time.sleep(pause_s)
                pause_s = min(1.1 * pause_s, longest_pause_s)
            work.wait()
        except RuntimeError as error:
            raise self._stopped(error) from error

    def _await_all(self) -> None:
        give_up = time.monotonic() + JOIN_S
        self._store.set(f"here/{self.world.rank}", "")
        ranks = range(self.world.size)
        while missing := [rank for rank in ranks if not self._store.check([f"here/{rank}"])]:
            if time.monotonic() > give_up:
                names = _ranks(missing)
                raise PeerError(
                    f"{names} did not come within {JOIN_S:.0f} s",
                    hint=f"each process needs MASTER_ADDR={self.world.address}",
                )
            time.sleep(CALM_PAUSE_S)

    def _survey(self) -> tuple[list[int], dict[int, str]]:
        """Who does not give up as this process does, and what they said of it."""
        rank, ranks = self.world.rank, range(self.world.size)
        self._store.set_timeout(timedelta(seconds=HANDSHAKE_S))
        self._store.set(f"left/{rank}", "")
        give_up = time.monotonic() + SURVEY_S
        while missing := [other for other in ranks if not self._store.check([f"left/{other}"])]:
            if time.monotonic() > give_up:
                break
            time.sleep(CALM_PAUSE_S)
        told = [other for other in missing if self._store.check([f"failed/{other}"])]
        return missing, {other: self._store.get(f"failed/{other}").decode() for other in told}

    def _stopped(self, error: RuntimeError) -> PeerError:
        """Which processes stopped, as an error that one of the others tells."""
        log.debug("%s", error)
        rank, ranks = self.world.rank, range(self.world.size)
        missing, reasons = [0] if rank else [], dict[int, str]()
        with suppress(RuntimeError, TimeoutError):  # its keeper is gone, or does not answer
            missing, reasons = within(SURVEY_S + HANDSHAKE_S, self._survey)
        if not missing:
            missing = [other for other in ranks if other != rank]
        told = f"{_ranks(missing)} stopped"
        if reasons:
            told += ": " + "; ".join(reasons.values())
        lost = PeerError(told, hint="--resume goes on from the newest checkpoint, if there is one")
        lost.is_told = rank != min(other for other in ranks if other not in missing)
        return lost


def within(limit_s: float, work: Callable[[], Result]) -> Result:
    """What `work` returns, if it does so in time: a store waits for an answer without an end.

    It is left waiting in a thread, which ends with the process.

    Raises:
        TimeoutError: it did not.
    """
    done: SimpleQueue[Result | Exception] = SimpleQueue()

    def call() -> None:
        try:
            done.put(work())
        except Exception as error:  # goes on in the calling thread
            done.put(error)

    threading.Thread(target=call, daemon=True).start()
    try:
        result = done.get(timeout=limit_s)
    except Empty:
        raise TimeoutError from None
    if isinstance(result, Exception):
        raise result
    return result


def _ranks(ranks: list[int]) -> str:
    return f"rank {ranks[0]}" if len(ranks) == 1 else f"ranks {', '.join(map(str, ranks))}"
