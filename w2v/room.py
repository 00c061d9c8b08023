"""Room in the memory of this process: asked before it is taken.

polars ends the process where it gets no memory, so whoever hands it much asks first.
"""

import re
from pathlib import Path

from w2v.errors import StorageError

# What a distinct token needs until it is a row of the vocabulary: sorted, as str, as a row.
BYTES_A_WORD = 400  # measured, of address space; 210 of memory
FEW_WORDS = 100_000  # which need not be looked at


def require_room(num_words: int) -> None:
    """Checks that a vocabulary of so many words will fit into memory.

    Raises:
        StorageError: it will not.
    """
    needed, free = num_words * BYTES_A_WORD, free_bytes()
    if num_words > FEW_WORDS and free is not None and needed > free:
        raise StorageError(
            f"out of memory: a vocabulary of {num_words:,} words or more needs "
            f"{needed / 1e9:.1f} GB more; {free / 1e9:.1f} GB are free",
            hint="vocab.max_size and vocab.min_count make it smaller",
        )


def words_with_room(most: int) -> int:
    """How many distinct tokens may be held at once: `most`, or what half of the free memory holds.

    Never fewer than FEW_WORDS.
    """
    free = free_bytes()
    if free is None:
        return most
    return min(most, max(free // 2 // BYTES_A_WORD, FEW_WORDS))


def free_bytes() -> int | None:
    """The memory that this process can still get; None where the system does not tell."""
    try:
        meminfo = Path("/proc/meminfo").read_text()
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except OSError:
        return None
    import resource  # not on Windows, where there is no /proc

    free = [int(size) * 1024 for size in re.findall(r"^MemAvailable: +(\d+)", meminfo, re.M)]
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit != resource.RLIM_INFINITY:
        free.append(max(limit - pages * resource.getpagesize(), 0))
    return min(free, default=None)
