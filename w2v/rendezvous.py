"""How the processes of a `World` find each other: a store at MASTER_ADDR, then a `Group`.

The store is kept by torchrun, or by the first process where others started them. What can be wrong
with an address is told at once: a port in use, another program behind it, a name that leads
nowhere.
"""

import logging
import os
import socket
import struct
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta

from torch.distributed import (  # type: ignore[attr-defined]
    PrefixStore,
    Store,
    TCPStore,
)

from w2v.errors import ConfigError, PeerError, W2VError
from w2v.group import CALM_PAUSE_S, HANDSHAKE_S, JOIN_S, Alone, Group, Peers, within
from w2v.world import World

ADDRESS_OF_INTERFACE = 0x8915  # Linux's SIOCGIFADDR

log = logging.getLogger(__name__)


@contextmanager
def joined(world: World) -> Iterator[Group]:
    """The group of all processes, while the block runs; who fails in it tells the others why.

    Raises:
        ConfigError, PeerError: as `join` does.
    """
    group = join(world)
    try:
        yield group
    except PeerError:
        raise
    except W2VError as error:
        group.tell(error)
        if not error.is_told and not world.is_first:
            error.args = (f"rank {world.rank}: {error}",)
        raise
    else:
        group.close()


def join(world: World) -> Group:
    """Finds the other processes, and waits until all have come.

    Raises:
        ConfigError: the port is in use, or what listens there is something else.
        PeerError: a process did not come.
    """
    if world.size == 1:
        return Alone(world)
    # What gloo and the store would say themselves is said by us.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "FATAL")
    log.info("process %d of %d, at %s:%d", world.rank, world.size, world.address, world.port)
    store = _store(world)
    _choose_interface(world.address)
    return Peers(world, PrefixStore(f"w2v/{world.restarts}", store))


def _store(world: World) -> Store:
    """The store at the address of the first process, kept by it or by torchrun."""
    by_torchrun = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    keeps = world.is_first and not by_torchrun
    if not keeps:
        _await_listener(world)

    def made() -> Store:
        return TCPStore(
            world.address,
            world.port,
            is_master=keeps,
            timeout=timedelta(seconds=HANDSHAKE_S),
            wait_for_workers=False,
        )

    try:
        return within(HANDSHAKE_S, made)
    except (RuntimeError, TimeoutError) as error:
        where = f"{world.address}:{world.port}"
        if keeps:
            message = f"cannot listen at {where} (MASTER_ADDR, MASTER_PORT)"
            if "EADDRINUSE" in str(error):
                message += ": the port is in use"
            raise ConfigError(message, hint="choose another MASTER_PORT") from error
        raise ConfigError(
            f"what listens at {where} (MASTER_ADDR, MASTER_PORT) is not the first process",
            hint="choose another MASTER_PORT",
        ) from error


def _await_listener(world: World) -> None:
    """Waits until somebody listens where the first process should."""
    give_up = time.monotonic() + JOIN_S
    where = f"{world.address}:{world.port}"
    while True:
        try:
            socket.create_connection((world.address, world.port), timeout=HANDSHAKE_S).close()
        except socket.gaierror as error:
            raise ConfigError(f"MASTER_ADDR={world.address}: {error.strerror}") from error
        except OSError as error:
            if time.monotonic() > give_up:
                raise PeerError(f"nobody listens at {where}: {error.strerror or error}") from error
            time.sleep(CALM_PAUSE_S)
        else:
            return


def _choose_interface(address: str) -> None:
    """Lets gloo take the network interface that leads to the first process, on Linux.

    It would take the one that this host's name stands for, which is often the loopback.
    """
    if sys.platform != "linux" or "GLOO_SOCKET_IFNAME" in os.environ:
        return
    import fcntl  # not on Windows

    kind, _, _, _, place = socket.getaddrinfo(address, 9, type=socket.SOCK_DGRAM)[0]
    if kind != socket.AF_INET:
        return
    with socket.socket(kind, socket.SOCK_DGRAM) as probe, suppress(OSError):  # no way: gloo tells
        probe.connect(place)  # sends nothing: the system only chooses the way
        own = probe.getsockname()[0]
        for _, name in socket.if_nameindex():
            try:
                found = fcntl.ioctl(probe, ADDRESS_OF_INTERFACE, struct.pack("256s", name.encode()))
            except OSError:
                continue
            if socket.inet_ntoa(found[20:24]) == own:
                os.environ["GLOO_SOCKET_IFNAME"] = name
                return
