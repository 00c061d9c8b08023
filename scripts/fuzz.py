"""Feeds damaged inputs to every reader of foreign bytes, and keeps what breaks one.

    python scripts/fuzz.py                              each reader for 60 s
    python scripts/fuzz.py yaml zip --inputs 10000000   two readers, so many inputs each
    python scripts/fuzz.py --seconds 600 --seed 7       a longer night, another stream

A plain mutator of good inputs (`tests/faults/parsers.py`), no coverage. What counts as broken: any
exception but a W2VError, an input that takes longer than a second (twice), memory that grows by
more than 200 MB or asks for 2 GB at once. Such an input is kept in `tests/faults/seeds/READER/`,
which a test replays; one for each place that breaks. The exit code is 1 where there is one.
"""

import argparse
import hashlib
import resource
import signal
import sys
import time
import traceback
from collections import Counter
from pathlib import Path
from random import Random
from types import FrameType

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from faults.parsers import PARSERS, SEEDS_FOLDER, Parser, damaged  # noqa: E402

from w2v.errors import W2VError  # noqa: E402

SLOW_S = 1.0
HANG_S = 20
GROWTH_BYTES = 200 * 2**20
ADDRESS_BYTES = 2 * 2**30


class HangError(Exception):
    """A reader that did not return."""


def main() -> int:
    """Fuzzes the readers that the command line names; returns the exit code."""
    options = _options()
    _limit_memory()
    signal.signal(signal.SIGALRM, _hang)
    print("reader\tinputs\tinputs/s\taccepted\trefused\tgrowth MB\tbroken")
    num_broken = 0
    for name in options.readers or PARSERS:
        seed = f"{options.seed}-{name}"
        num_broken += fuzz(PARSERS[name], seed, inputs=options.inputs, seconds=options.seconds)
    return 1 if num_broken else 0


def fuzz(parser: Parser, seed: str, *, inputs: int | None, seconds: float) -> int:
    """Feeds one reader until so many inputs or seconds are over, and prints a line of what came.

    Returns how many places broke.
    """
    rng = Random(seed)  # noqa: S311
    outcomes: Counter[str] = Counter()
    broken: set[str] = set()
    start_bytes = base_bytes = _peak_bytes()
    started = now = time.perf_counter()
    while outcomes.total() < inputs if inputs is not None else now - started < seconds:
        data = damaged(parser, rng)
        if outcomes.total() % 1000 == 0:
            signal.alarm(HANG_S)
        before = now
        outcome, where = _feed(parser, data)
        now = time.perf_counter()
        outcomes[outcome] += 1
        if now - before > SLOW_S and _seconds(parser, data) > SLOW_S:
            where = "slow"
        if _peak_bytes() - base_bytes > GROWTH_BYTES:
            base_bytes, where = _peak_bytes(), "memory"
        if where and where not in broken:
            broken.add(where)
            print(f"{parser.name}: {where}: kept in {_keep(parser, data)}", file=sys.stderr)
    signal.alarm(0)
    total, took_s = outcomes.total(), now - started
    numbers = (f"{total:,}", f"{total / took_s:,.0f}", f"{outcomes['accepted']:,}")
    growth_mb = (_peak_bytes() - start_bytes) / 2**20
    refused = f"{outcomes['refused']:,}"
    print(parser.name, *numbers, refused, f"{growth_mb:.0f}", len(broken), sep="\t", flush=True)
    return len(broken)


def _feed(parser: Parser, data: bytes) -> tuple[str, str]:
    """What became of an input, and where the reader broke, if it did."""
    try:
        parser.parse(data)
    except W2VError:
        return "refused", ""
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        frame = next((f for f in reversed(frames) if f"{ROOT / 'w2v'}" in f.filename), frames[-1])
        place = f"{Path(frame.filename).name}:{frame.lineno}"
        return "broken", f"{type(error).__name__} at {place}"
    return "accepted", ""


def _seconds(parser: Parser, data: bytes) -> float:
    """How long an input takes, now that the machine may be less busy."""
    started = time.perf_counter()
    _feed(parser, data)
    return time.perf_counter() - started


def _keep(parser: Parser, data: bytes) -> Path:
    folder = SEEDS_FOLDER / parser.name
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / hashlib.sha256(data).hexdigest()[:12]
    path.write_bytes(data)
    return path


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _limit_memory() -> None:
    """Makes an allocation of ADDRESS_BYTES fail, also one that is never written to."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + ADDRESS_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))


def _hang(_number: int, _frame: FrameType | None) -> None:
    raise HangError(f"over {HANG_S} s for a thousand inputs")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("readers", nargs="*", metavar="READER", help=", ".join(PARSERS))
    parser.add_argument("--inputs", type=int, help="so many for each reader; else --seconds")
    parser.add_argument("--seconds", type=float, default=60.0, help="for each reader")
    parser.add_argument("--seed", type=int, default=0, help="which stream of inputs")
    options = parser.parse_args()
    if unknown := set(options.readers) - PARSERS.keys():
        parser.error(f"no such reader: {', '.join(sorted(unknown))}")
    return options


if __name__ == "__main__":
    sys.exit(main())
