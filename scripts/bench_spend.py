"""What one command takes: runs it to its end and notes wall time and peak memory.

    python -I -S scripts/bench_spend.py NOTE COMMAND [ARGUMENT ...]

NOTE becomes `{"wall_s": ..., "peak_mb": ..., "exit_code": ...}`, the peak being the largest
resident set of any process of the command. A program of its own, and a small one, because the
system lets a new process begin with the peak of the one that started it: measured from the
benchmark itself, no program would seem to take less memory than the benchmark.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

RSS_PER_MB = 2**20 if sys.platform == "darwin" else 2**10  # ru_maxrss is in bytes or in KiB


def main() -> None:
    """Runs the command and writes the note."""
    note, *command = sys.argv[1:]
    started_at = time.perf_counter()
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    spent = {
        "wall_s": time.perf_counter() - started_at,
        "peak_mb": usage.ru_maxrss / RSS_PER_MB,
        "exit_code": os.waitstatus_to_exitcode(status),
    }
    process.returncode = spent["exit_code"]
    Path(note).write_text(json.dumps(spent))


if __name__ == "__main__":
    main()
