"""What a training takes that is larger than any here: memory, traffic and time, by a model.

A `Plan` enters, bytes and seconds leave; `scale_plan.py` makes tables of them. What the code
decides is taken from it or counted in it (tables, optimizer, copies, ids, which rows are merged
when); what a machine decides is a constant below, measured or assumed as its comment says. Every
host runs one process, whose threads share its tables; training and merging take turns. A word is a
raw word: before vocabulary and subsampling.

Legend: V = words of the vocabulary; D = dimension; N = hosts.
"""

import statistics
from typing import NamedTuple

import numpy as np

from w2v.cores import MAX_WORKERS
from w2v.kernels.tiles import LANES
from w2v.meetings import CHUNK_ROWS, LEVELS
from w2v.memory import FLOAT_BYTES, LONG_BYTES, needs
from w2v.model import padded
from w2v.names import OptimizerName

GB, GBIT = 1e9, 1e9 / 8
DIMS, RATES = (50, 100, 200, 300), (16.5e6, 12.2e6, 7.1e6, 4.6e6)  # words/s of two threads: README
THREAD_EFFICIENCY = 0.8  # of linear, beyond two threads; assumed
PREPARE_RATE = 17.5e6  # words/s of two threads that count and encode: docs/log.md
DIGEST_RATE = 1.8e9  # bytes/s of SHA-256 with the processor's instructions: docs/log.md
COPY_RATE = 17e9  # bytes/s that one core reads and writes: measured, 64 MB
LATENCY_S = 1e-4  # of a message between hosts; assumed
MERGE_PASSES = 16  # over a merged row's bytes while threads train: meetings._send, _receive
MERGES_WANTED = 100  # an epoch: what two processes were measured with, at the shortest interval
ID_BYTES, OFFSET_BYTES = 4, 8  # of a word, of a sentence: encoded.py
TEXT_BYTES = 5.4  # of a word, its space included: film reviews
SENTENCE_WORDS = 21  # film reviews
WORD_BYTES = 8 + 64 + LONG_BYTES  # of the vocabulary: a place in a tuple, a short str, a count
# Of a row: keep_prob, noise_cdf, two uses, the alias table's share and other: draws.py, pieces.py.
SAMPLER_BYTES = 4 + 8 + 4 + 4 + 4 + 4
BASE_BYTES = 0.45 * GB  # interpreter, torch, numba, polars, buffers: measured, 1,000 words


class Plan(NamedTuple):
    """One training; an epoch where time is asked."""

    raw_words: float
    vocab_size: int  # V
    dim: int  # D
    hosts: int = 1  # N
    threads: int = 16  # of a host
    network: float = 10 * GBIT  # bytes/s, each way
    optimizer: OptimizerName = "sgd"


# --- memory -----------------------------------------------------------------------------------


class Memory(NamedTuple):
    """Bytes of one process, by what they are for."""

    base: float
    words: float  # the vocabulary, and what sampling knows of each word
    tables: float
    optimizer: float
    merged: float  # the rows as they were after the last merge, and two buffers of rows
    dense: float  # both tables without the zeros between their rows

    @property
    def training(self) -> float:
        """Between checkpoints."""
        return self.base + self.words + self.tables + self.optimizer + self.merged

    @property
    def checkpoint(self) -> float:
        """While a copy is written beside training."""
        return self.training + self.dense + self.optimizer

    @property
    def finishing(self) -> float:
        """While the vectors are written: tables made dense, if they are not, and the file twice.

        Measured with 400,000 words at dim 96 and 100: `safetensors.numpy.save` copies what it made.
        """
        return self.training + self.dense * (2 + (self.dense < self.tables))


def memory(plan: Plan) -> Memory:
    """What one process of the plan takes to train."""
    V, D = plan.vocab_size, plan.dim
    taken, merged = (
        needs(
            vocab_size=V,
            dim=D,
            row_floats=padded(D, LANES),
            optimizer=plan.optimizer,
            are_merged=are_merged,
        )
        for are_merged in (False, plan.hosts > 1)
    )
    copy = sum(merged[2:]) - sum(taken[2:])  # of what is merged: tables and optimizer
    return Memory(
        base=BASE_BYTES,
        words=V * (WORD_BYTES + SAMPLER_BYTES),
        tables=taken.table_bytes,
        optimizer=taken.optimizer_bytes,
        merged=copy * (1 + 2 * min(V, CHUNK_ROWS) / V),
        dense=2 * V * D * FLOAT_BYTES,
    )


def corpus_bytes(raw_words: float) -> float:
    """Of an encoded text on each host's disk, at the most: every word is in the vocabulary."""
    return raw_words * (ID_BYTES + OFFSET_BYTES / SENTENCE_WORDS)


# --- traffic ----------------------------------------------------------------------------------


def merged_rows(vocab_size: int, number: int) -> int:
    """Rows of a table in the number-th merge: V/16, in every second V/8, .. in every 16th V."""
    level = min((number & -number).bit_length() - 1, LEVELS)
    return -(-vocab_size // 2 ** (LEVELS - level))


def mean_merged_rows(vocab_size: int) -> float:
    """Rows of a table in a merge, on average: 3/16 of V."""
    cycle = range(1, 2**LEVELS + 1)
    return statistics.fmean(merged_rows(vocab_size, number) for number in cycle)


def merge_bytes(rows: float, dim: int) -> float:
    """What a merge adds up: rows of two tables, if all have changed, and a byte to tell which."""
    return 2 * rows * (dim * FLOAT_BYTES + 1)


def sent_bytes(payload: float, hosts: int) -> float:
    """What each host sends, and receives, to add up a payload around a ring.

    Source: Patarasuk and Yuan 2009; no way to add up sends less.
    """
    return 2 * (hosts - 1) / hosts * payload


def merge_s(plan: Plan) -> float:
    """Seconds of a merge, on average: the network, its latency, and passes over memory."""
    if plan.hosts == 1:
        return 0.0
    rows = mean_merged_rows(plan.vocab_size)
    payload = merge_bytes(rows, plan.dim)
    sums = 2 * 2 * max(1.0, rows / CHUNK_ROWS)  # of both tables: which rows, and the rows
    latency_s = sums * 2 * (plan.hosts - 1) * LATENCY_S
    return (
        sent_bytes(payload, plan.hosts) / plan.network
        + latency_s
        + MERGE_PASSES * payload / COPY_RATE
    )


# --- time -------------------------------------------------------------------------------------


def word_s(dim: int) -> float:
    """Seconds of a word on one thread: straight lines between what was measured, and beyond."""
    seconds = 2 / np.array(RATES)
    if dim <= DIMS[-1]:
        return float(np.interp(dim, DIMS, seconds))
    slope = (seconds[-1] - seconds[-2]) / (DIMS[-1] - DIMS[-2])
    return float(seconds[-1] + slope * (dim - DIMS[-1]))


def host_rate(plan: Plan) -> float:
    """Words/s of a host's threads."""
    efficiency = THREAD_EFFICIENCY if plan.threads > 2 else 1.0
    return plan.threads * efficiency / word_s(plan.dim)


def epoch_s(plan: Plan, *, sync_words: float) -> float:
    """Seconds of an epoch in which each process trains so many words between two merges."""
    training_s = plan.raw_words / plan.hosts / host_rate(plan)
    return training_s + merges(plan, sync_words=sync_words) * merge_s(plan)


def sync_words_for(plan: Plan, *, share: float = 0.1) -> float:
    """Words between two merges for which merging takes this share of the time."""
    return host_rate(plan) * merge_s(plan) * (1 - share) / share


def merges(plan: Plan, *, sync_words: float) -> float:
    """How often the hosts meet in an epoch; once, at its end, at the least."""
    return max(1.0, plan.raw_words / plan.hosts / sync_words)


def interval(plan: Plan) -> float:
    """Words between two merges that are cheap, but no more than leave MERGES_WANTED an epoch."""
    return min(sync_words_for(plan), plan.raw_words / plan.hosts / MERGES_WANTED)


def prepare_s(plan: Plan) -> float:
    """Seconds to count and encode on one host, all cores."""
    return plan.raw_words / (PREPARE_RATE / 2 * min(plan.threads, MAX_WORKERS))


def open_s(plan: Plan) -> float:
    """Seconds to check the digests of text and encoded corpus, at each start."""
    return (plan.raw_words * TEXT_BYTES + corpus_bytes(plan.raw_words)) / DIGEST_RATE
