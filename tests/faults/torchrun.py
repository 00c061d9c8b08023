"""Several ranks of `w2v train` on this machine, started by hand or by torchrun, each heard apart.

    with several(nursery, "train", *options, cwd=folder, size=2) as ranks:
        outcomes = ended(ranks)  # code, stdout, stderr of each

Ranks and torchrun are forked by a `Nursery` (faults/nursery.py), which has torch imported.
What is started here is gone when its block ends.
"""

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from conftest import TINY_SETTINGS, Outcome, planted_text

from faults.outcome import ROOT

NONE = "none"  # no fault
STARTED_S = 60  # until a nursery has imported what it needs, on a busy machine
LINES = 600  # of the tiny text: 5,400 words
# How often it is repeated, so that each of two ranks has some 20 updates in an epoch. They meet
# about as often, and so merge all rows once before its end.
REPEATED = {"bmm": 1, "hogwild": 120}
KERNELS = {
    "bmm": ("train.batch_size=128", "distributed.sync_words=128"),
    "hogwild": (
        "distributed.sync_words=16384",
        "train.kernel=hogwild",
        "train.batch_size=null",
        "train.optimizer=sgd",
        "sampling.block=16",
        "sampling.shared_negatives=16",
    ),
}


class Started(NamedTuple):
    """A process of a nursery: a rank, or torchrun."""

    nursery: "Nursery"
    pid: int
    out: Path
    err: Path

    def send(self, number: int) -> None:
        """Sends a signal, unless it has ended."""
        if self.nursery.code(self.pid) is None:
            os.kill(self.pid, number)

    def wait(self, *, within_s: float) -> Outcome:
        """Its code and what it said, once it has ended."""
        give_up = time.monotonic() + within_s
        while self.nursery.code(self.pid) is None:
            left_s = give_up - time.monotonic()
            assert left_s > 0, f"still there after {within_s} s\n{self.err.read_text()}"
            self.nursery.listen(left_s)
        return Outcome(
            self.nursery.code(self.pid), self.out.read_text(), self.err.read_text(errors="replace")
        )


class Nursery:
    """The process that forks them; `prefix` may start it elsewhere, in a network namespace."""

    def __init__(self, *, prefix: Sequence[str] = ()) -> None:
        paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
        self._process = subprocess.Popen(
            [*prefix, sys.executable, "-m", "faults.nursery"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env=os.environ | {"PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"},
        )
        self._codes: dict[int, int] = {}
        self._told = b""

    def start(
        self,
        program: str,
        *arguments: object,
        cwd: Path,
        name: str,
        env: Mapping[str, str] | None = None,
    ) -> Started:
        """Forks a program; what it says is in files called NAME.out and NAME.err."""
        out, err = (cwd / f"{name}.{of}" for of in ("out", "err"))
        paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
        asked = {
            "program": program,
            "arguments": list(map(str, arguments)),
            "env": {**os.environ, "PYTHONPATH": paths, "TMPDIR": str(cwd), **(env or {})},
            "cwd": str(cwd),
            "out": str(out),
            "err": str(err),
        }
        self._process.stdin.write(json.dumps(asked).encode() + b"\n")
        while "pid" not in (told := self._read(STARTED_S)):
            assert told, "the nursery does not answer"
        return Started(self, told["pid"], out, err)

    def code(self, pid: int) -> int | None:
        """The exit code, or the signal that ended it, negative; None while it lives."""
        return self._codes.get(pid)

    def listen(self, within_s: float) -> None:
        """Waits for an end, not for ever."""
        self._read(within_s)

    def _read(self, within_s: float) -> dict[str, int]:
        """The next line, empty where none comes in time; an end is taken note of."""
        give_up = time.monotonic() + within_s
        while b"\n" not in self._told:
            left_s = give_up - time.monotonic()
            ready, _, _ = select.select([self._process.stdout], [], [], max(left_s, 0))
            if not ready:
                return {}
            block = os.read(self._process.stdout.fileno(), 4096)
            assert block, "the nursery has ended"
            self._told += block
        line, _, self._told = self._told.partition(b"\n")
        told: dict[str, int] = json.loads(line)
        if "ended" in told:
            self._codes[told["ended"]] = told["code"]
        return told

    def close(self) -> None:
        """Ends it, and with it all that it has started."""
        self._process.stdin.close()
        try:
            self._process.wait(timeout=20)
        finally:
            self._process.kill()
            self._process.wait()
            self._process.stdout.close()


def tiny_config(folder: Path, kernel: str, *more: str) -> list[str]:
    """Options that train on a tiny text, which is made in the folder: one thread, many merges."""
    text = folder / "planted.txt"
    if not text.exists():
        text.write_text(planted_text(lines=LINES, seed=0) * REPEATED[kernel])
    settings = (
        *TINY_SETTINGS,
        *KERNELS[kernel],
        f"corpus.path={text}",
        "train.threads=1",
        *more,
    )
    return [part for setting in settings for part in ("-s", setting)]


def soon_s() -> float:
    """In how many seconds all must have left: 10, more on a machine that has other work."""
    return 10 * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def free_port() -> int:
    """A port of the loopback that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    return port


def rank_env(rank: int, size: int, port: int, *, address: str = "127.0.0.1") -> dict[str, str]:
    """What tells a process that is started by hand which rank it is."""
    return {
        "RANK": str(rank),
        "WORLD_SIZE": str(size),
        "MASTER_ADDR": address,
        "MASTER_PORT": str(port),
    }


class Part(NamedTuple):
    """What one rank is given: where it works, and what is typed there."""

    cwd: Path
    arguments: Sequence[object]


@contextlib.contextmanager
def several(
    nursery: Nursery,
    *arguments: object,
    cwd: Path,
    size: int = 2,
    fault: str = NONE,
    env: Mapping[str, str] | None = None,
) -> Iterator[list[Started]]:
    """Ranks that are started by hand, in one folder; killed at the end of the block."""
    part = Part(cwd, arguments)
    with apart([nursery] * size, [part] * size, fault=fault, one_host=True, env=env) as ranks:
        yield ranks


@contextlib.contextmanager
def apart(
    nurseries: Sequence[Nursery],
    parts: Sequence[Part],
    *,
    fault: str = NONE,
    address: str = "127.0.0.1",
    one_host: bool = False,
    env: Mapping[str, str] | None = None,
) -> Iterator[list[Started]]:
    """Ranks that are started by hand, each with a part of its own, as if each had a host."""
    port, size = free_port(), len(parts)
    ranks: list[Started] = []
    try:
        for rank, (nursery, part) in enumerate(zip(nurseries, parts, strict=True)):
            environment = rank_env(rank, size, port, address=address) | dict(env or {})
            if one_host:
                environment |= {"LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": str(size)}
            more = {"cwd": part.cwd, "name": f"rank-{rank}", "env": environment}
            ranks.append(nursery.start("ranks", fault, *part.arguments, **more))
        yield ranks
    finally:
        end(ranks)


def end(started: Sequence[Started]) -> None:
    """Kills what is left of these, and waits for it."""
    for one in started:
        one.send(signal.SIGKILL)
    for one in started:
        one.wait(within_s=10)


def ended(started: Sequence[Started], *, within_s: float = 60.0) -> list[Outcome]:
    """What all of these left, in their order; they end in time."""
    give_up = time.monotonic() + within_s
    return [one.wait(within_s=max(give_up - time.monotonic(), 0.01)) for one in started]


@contextlib.contextmanager
def torchrun(
    nursery: Nursery,
    *arguments: object,
    cwd: Path,
    fault: str = NONE,
    options: Sequence[str] = (),
    hosts: Sequence[str] = ("--nproc-per-node=2", "--master-addr=127.0.0.1"),
    port: int | None = None,
) -> Iterator[Started]:
    """Ranks that torchrun starts; what each says is in files (`heard`). Gone with the block."""
    log = ("--redirects=3", f"--log-dir={cwd / 'log'}")
    command = [*hosts, f"--master-port={port or free_port()}", *log, *options]
    command += ["-m", "faults.ranks", fault]
    agent = nursery.start("torchrun", *command, *arguments, cwd=cwd, name="torchrun")
    try:
        yield agent
    finally:
        end([agent])
        for pid in living(cwd):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def heard(cwd: Path, rank: int, of: str = "stderr") -> str:
    """What a rank of torchrun wrote, in all attempts."""
    logs = sorted((cwd / "log").glob(f"*/attempt_*/{rank}/{of}.log"))
    return "".join(log.read_text(errors="replace") for log in logs)


def living(cwd: Path) -> list[int]:
    """The ranks that a torchrun has started in a folder, and that are there."""
    found, ours = [], f"TMPDIR={cwd}".encode()
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):  # a process that is gone, or another's
            told = path.read_bytes().split(b"\0")
            if ours in told and any(one.startswith(b"RANK=") for one in told):
                found.append(int(path.parent.name))
    return found
