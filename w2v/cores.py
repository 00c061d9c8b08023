"""How many processor cores this process may use, and how many threads work on text."""

import os

# The most threads that read, cut or count text. One thread takes their results, in order, which is
# a tenth of the work of cutting: more of them would wait, and each holds text in memory.
MAX_WORKERS = 12


def usable_cores() -> int:
    """The cores that this process may run on; a container or `taskset` may leave it fewer."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def workers() -> int:
    """The threads that are worth starting to work on text."""
    return min(usable_cores(), MAX_WORKERS)
