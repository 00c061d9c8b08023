"""A run of 400,000 words x 300: `w2v similar` answers in a second, its tables mapped into memory.

Processor time is compared, since other programs share the machine; on an idle one it is the wall
time. Measured on 2 cores of an AVX-512 EPYC, 2026-11, the files in the page cache: .6 s of wall
time, and 3.4 s of processor time before tables were mapped.
"""

import resource
import subprocess
import sys
import time

import numpy as np
import pytest

from w2v.digests import YOUNG_S, seal_of
from w2v.rundir import RunDir
from w2v.vocab import Vocab

NUM_WORDS, DIM = 400_000, 300
TRIES = 5
LIMIT_S = 1.5  # the goal is 1; neighbors slow a processor down, too


@pytest.fixture(scope="module")
def big(tmp_path_factory):
    rng = np.random.default_rng(0)
    table_VD = rng.random((NUM_WORDS + 1, DIM), np.float32) - np.float32(0.5)
    table_VD[0] = 0
    words = ("<unk>", *(f"{i * 2654435761 % 2**32:x}" for i in range(NUM_WORDS)))
    run = RunDir(tmp_path_factory.mktemp("big") / "run")
    counts_V = np.arange(NUM_WORDS + 1, 0, -1)
    run.write_finished({}, vocab=Vocab(words, counts_V), center_VD=table_VD, context_VD=table_VD)
    time.sleep(YOUNG_S + 1)  # a file that was just written gets no seal
    yield run, words
    run.clear()  # pytest keeps the folders of three sessions


def ask(run, *arguments):
    """The processor time of one process, and what it printed."""
    command = [sys.executable, "-m", "w2v", "similar", *arguments, "--run", str(run.path)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return used_s, done.stdout


@pytest.mark.slow
def test_400_000_words_answer_soon(big):
    run, words = big
    query = [words[5], words[399_999], "--minus", words[7], "-k", "3"]
    _, first = ask(run, *query)
    assert seal_of(run.vectors).exists()
    tries = [ask(run, *query) for _ in range(TRIES)]
    assert {out for _, out in tries} == {first}
    assert min(used_s for used_s, _ in tries) < LIMIT_S
    matrix_VD = np.memmap(run.vectors, np.float32, "r", offset=run.vectors.stat().st_size
                          - 4 * 2 * (NUM_WORDS + 1) * DIM, shape=(NUM_WORDS + 1, DIM))  # fmt: skip
    lengths_V = np.maximum(np.linalg.norm(matrix_VD, axis=1), 1e-9)
    query_D = sum(sign * matrix_VD[i] / lengths_V[i] for i, sign in ((5, 1), (399_999, 1), (7, -1)))
    cosines_V = matrix_VD @ query_D / lengths_V / np.linalg.norm(query_D)
    cosines_V[[0, 5, 7, 399_999]] = -1
    best = np.argsort(-cosines_V)[:3]
    assert first == "".join(f"{words[i]}\t{cosines_V[i]:.4f}\n" for i in best)


@pytest.mark.slow
def test_a_flipped_bit_in_a_gigabyte_is_noticed(big):
    run, words = big
    ask(run, words[1])
    with run.vectors.open("r+b") as file:
        file.seek(700_000_000)
        byte = file.read(1)[0]
        file.seek(700_000_000)
        file.write(bytes([byte ^ 4]))
    with pytest.raises(subprocess.CalledProcessError) as caught:
        ask(run, words[1])
    assert caught.value.returncode == 4
    assert "checksum mismatch" in caught.value.stderr
