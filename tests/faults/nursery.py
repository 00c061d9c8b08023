"""`python -m faults.nursery`: forks ranks, and torchrun itself, for whoever asks.

All that they need is imported here, so that one is there in milliseconds, not after the seconds
that torch takes. A line of JSON on standard input asks for one:

    {"program": "ranks" or "torchrun", "arguments": [..], "env": {..}, "cwd": .., "out": FILE,
     "err": FILE}

The answer is `{"pid": ..}`, and `{"ended": pid, "code": ..}` once it has ended. With the end of the
input all that are left are killed.
"""

import json
import os
import selectors
import signal
import sys
from collections.abc import Callable
from typing import Any

import torch.distributed.run

import w2v.training  # noqa: F401
from faults import ranks


def serve() -> Callable[[], object] | None:
    """Forks what is asked for. In a child this returns what it is to do; in the parent None."""
    living: dict[int, int] = {}  # pid of each: what tells its end
    with selectors.DefaultSelector() as selector:
        selector.register(0, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.data is not None:
                    selector.unregister(key.fd)
                    os.close(living.pop(key.data))
                    _, status = os.waitpid(key.data, 0)
                    tell(ended=key.data, code=os.waitstatus_to_exitcode(status))
                    continue
                line = read_line()
                if not line:
                    for pid in living:
                        os.kill(pid, signal.SIGKILL)
                    return None
                asked = json.loads(line)
                pid = os.fork()
                if pid == 0:
                    return become(asked)
                living[pid] = os.pidfd_open(pid)
                selector.register(living[pid], selectors.EVENT_READ, pid)
                tell(pid=pid)


def read_line() -> bytes:
    """A line of standard input; nothing is read ahead, as a child would inherit it."""
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(0, 1)
        if not byte:
            return b""
        line += byte
    return line


def tell(**what: int) -> None:
    """Writes a line of JSON."""
    os.write(1, json.dumps(what).encode() + b"\n")


def become(asked: dict[str, Any]) -> Callable[[], object]:
    """Makes this process, which was just forked, the one that is asked for."""
    os.setsid()
    os.chdir(asked["cwd"])
    os.environ.clear()
    os.environ.update(asked["env"])
    for handle, path in enumerate((os.devnull, asked["out"], asked["err"])):
        opened = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        os.dup2(opened, handle)
        os.close(opened)
    arguments = asked["arguments"]
    if asked["program"] == "torchrun":
        sys.argv[:] = ["torchrun", *arguments]
        return torch.distributed.run.main
    fault, *typed = arguments
    sys.argv[:] = ["w2v", *typed]
    return lambda: ranks.main(fault, typed)


if __name__ == "__main__":
    work = serve()
    if work is not None:
        work()
