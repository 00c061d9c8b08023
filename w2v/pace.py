"""How long training will take: a moment of it on the text itself, thrown away afterwards.

A corpus and the settings enter, words a second leave. Nothing is tabulated by machine or setting:
what the kernel does in a third of a second, with these tables, tells more than a constant could.
What it cannot tell is what else the machine will do meanwhile, so it is an estimate.

Legend: N = ids of a text; S = sentences; V = words of the vocabulary.
"""

import dataclasses
import time
from functools import partial

import numpy as np
import torch

from w2v.config import ModelSection, SamplingSection, TrainSection
from w2v.draws import DRAWS_STREAM, ORDER_STREAM, Streams, generator_at
from w2v.encoded import Corpus
from w2v.feed import Feed
from w2v.kernels.interface import Kernel
from w2v.learner import Learner, make_learner
from w2v.sentences import Sentences, cut

FIRST_WORDS = 1 << 13  # trained first, and not counted: code is loaded, memory is touched
ENOUGH_S = 0.3  # a stretch that takes so long is believed; before, each is twice the last one
MOST_S = 1.0  # a stretch that takes longer is not trained to its end
NOTHING = Sentences(np.zeros(0, np.int32), np.zeros(1, np.int64))


def words_per_s(
    corpus: Corpus,
    *,
    model: ModelSection,
    sampling: SamplingSection,
    train: TrainSection,
    kernel: Kernel,
    device: torch.device,
) -> float:
    """How many words in vocabulary, before subsampling, training passes in a second.

    It takes a second or two, and some more where the kernel has to be compiled. Held-out losses
    and checkpoints are left out.

    Raises:
        StorageError: out of memory.
    """
    learner = make_learner(
        dataclasses.replace(corpus, heldout=NOTHING),
        model=model,
        sampling=sampling,
        train=train,
        kernel=kernel,
        device=device,
    )
    num_ids = len(corpus.train.ids_N)
    size, start = min(FIRST_WORDS, num_ids), 0
    timed = partial(_timed, learner, corpus, train=train, max_words=kernel.span_words)
    timed(start, size)
    while True:
        start = start + size if start + 3 * size <= num_ids else 0
        size = min(2 * size, num_ids)
        words, seconds = timed(start, size)
        if seconds >= ENOUGH_S or size == num_ids:
            return words / max(seconds, 1e-9)


def _timed(
    learner: Learner, corpus: Corpus, start: int, size: int, *, train: TrainSection, max_words: int
) -> tuple[float, float]:
    """How many words of a stretch were trained on, and how long it took: not beyond MOST_S."""
    device = learner.sampler.noise_cdf_V.device
    stretch = Feed(
        Sentences(*cut(corpus.train, start, start + size)),
        max_words=max_words,
        keep_prob_V=learner.sampler.keep_prob_V.cpu().numpy(),
        device=device,
    )
    streams = (generator_at(device, train.seed, of, start) for of in (DRAWS_STREAM, ORDER_STREAM))
    draws = Streams(*streams)
    loss_sum, words, began = torch.zeros(()), 0.0, time.perf_counter()
    for number, (first, end) in enumerate(stretch.cuts):
        for step in learner.train_span(stretch[number], lr=(train.lr, train.lr), streams=draws):
            loss_sum, words = step.tally.loss_sum, first + step.done * (end - first)
            if time.perf_counter() - began > MOST_S:
                break
        else:
            words = end
            continue
        break
    float(loss_sum)  # a GPU has done all of it once the last sum is known
    return words, time.perf_counter() - began
