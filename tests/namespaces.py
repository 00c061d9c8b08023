"""Two hosts on one machine: network namespaces with a wire between them, which can be cut.

Linux alone has them, and root alone may make them, with iproute2.
"""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import pytest

INTERFACE = "wire0"
ADDRESSES = ("10.213.7.1", "10.213.7.2")


class Hosts(NamedTuple):
    """Two namespaces, each with its end of the wire."""

    names: Sequence[str]

    def prefix(self, host: int) -> list[str]:
        """The start of a command that runs on one of them."""
        return ["ip", "netns", "exec", self.names[host]]

    def cut(self) -> None:
        """Takes the first one's end of the wire down."""
        _ip("-n", self.names[0], "link", "set", INTERFACE, "down")

    def mend(self) -> None:
        """Brings it up again."""
        _ip("-n", self.names[0], "link", "set", INTERFACE, "up")


@contextlib.contextmanager
def two_hosts() -> Iterator[Hosts]:
    """Makes them; a skip where that is not allowed. They are gone afterwards."""
    if shutil.which("ip") is None:
        pytest.skip("no iproute2 to make network namespaces with")
    names = [f"w2v-test-{os.getpid()}-{host}" for host in "ab"]
    try:
        try:
            for name in names:
                _ip("netns", "add", name)
            wire = ("netns", names[0], "type", "veth", "peer", "name", INTERFACE)
            _ip("link", "add", INTERFACE, *wire, "netns", names[1])
        except subprocess.CalledProcessError as error:
            pytest.skip(f"network namespaces are not allowed here: {error.stderr.strip()}")
        for name, address in zip(names, ADDRESSES, strict=True):
            _ip("-n", name, "address", "add", f"{address}/24", "dev", INTERFACE)
            for interface in ("lo", INTERFACE):
                _ip("-n", name, "link", "set", interface, "up")
        yield Hosts(names)
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, timeout=20)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True, timeout=20)
