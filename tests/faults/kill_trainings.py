"""`python -m faults.kill_trainings TIMES ARGUMENT...`: kills whole trainings at random moments.

A training is forked from this process, which has all it needs imported, and goes on with what the
one before left: `w2v train ARGUMENT...`, with `--resume` once there is a checkpoint. It is killed
within a first training's time, until so many are; a run that comes to its end begins anew. At the
end one comes to its end. Prints how many were killed and how many ended.
"""

import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

import w2v.training  # noqa: F401
from w2v.cli.main import main as w2v_main
from w2v.states import complete

RUN = Path("run")


def main(times: int, arguments: list[str]) -> None:
    """Kills so often; every training that is not killed exits with 0."""
    rng = random.Random(times)
    longest_s = seconds(arguments)
    shutil.rmtree(RUN)
    killed = ended = 0
    while killed < times:
        code = run(arguments, kill_after_s=rng.uniform(0, longest_s))
        killed += code == -signal.SIGKILL
        if code == 0:
            ended += 1
            shutil.rmtree(RUN)
        assert code in (0, -signal.SIGKILL), code
    assert run(arguments) == 0
    sys.stdout.write(f"{killed} killed, {ended} ended before\n")


def seconds(arguments: list[str]) -> float:
    """How long a whole training takes."""
    started = time.perf_counter()
    assert run(arguments) == 0
    return time.perf_counter() - started


def run(arguments: list[str], *, kill_after_s: float | None = None) -> int:
    """Forks a training; its exit code, or the signal that ended it, negative."""
    more = ["--resume"] if complete(RUN / "checkpoints") else []
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            w2v_main(["train", *arguments, *more, "-q"])
        except SystemExit as exit_:
            code = exit_.code
        finally:
            os._exit(code)
    if kill_after_s is not None:
        time.sleep(kill_after_s)
        os.kill(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
