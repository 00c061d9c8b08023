"""What is known of a training before it begins: its text, its kernel and device, its memory.

A config enters; a `Survey` leaves, for `training` to train on and for `stats` to tell of. The text
is read, counted and encoded where that was not done before; nothing else is allocated.
"""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from w2v import devices
from w2v.config import IN_PLACE, Config
from w2v.corpus import Corpus, prepare
from w2v.kernels.choice import KernelChoice, choose_kernel
from w2v.memory import Needs, needs
from w2v.model import padded
from w2v.sources import open_source

log = logging.getLogger(__name__)


class Survey(NamedTuple):
    """What training starts from."""

    corpus: Corpus
    kernel: KernelChoice
    device: devices.Choice
    needs: Needs


def survey(
    config: Config,
    *,
    data_folder: Path,
    download_progress: Callable[[int, int | None], None] | None = None,
) -> Survey:
    """Chooses device and kernel, which are told at once where they cannot be, and opens the corpus.

    Raises:
        ConfigError: the device is not to be had here.
        DownloadError, DataError, StorageError: the corpus.
    """
    device = devices.choose(
        config.train.device, only_cpu=IN_PLACE.get(config.train.kernel) == "cpu"
    )
    kernel = choose_kernel(config.train, config.sampling, device.device, model=config.model)
    log.info("kernel %s: %s; device %s: %s", kernel.name, kernel.reason, *device)
    corpus = open_corpus(config, data_folder=data_folder, download_progress=download_progress)
    memory = needs(
        vocab_size=len(corpus.vocab),
        dim=config.model.dim,
        row_floats=padded(config.model.dim, kernel.kernel.row_multiple),
        optimizer=config.train.optimizer,
    )
    return Survey(corpus, kernel, device, memory)


def open_corpus(
    config: Config,
    *,
    data_folder: Path,
    download_progress: Callable[[int, int | None], None] | None = None,
) -> Corpus:
    """The encoded text that a config names, from the cache or built.

    Raises:
        DownloadError, DataError, StorageError: the text.
    """
    source = open_source(config.corpus, data_folder=data_folder, progress=download_progress)
    return prepare(
        source,
        lowercase=config.corpus.lowercase,
        token_pattern=config.corpus.token_pattern,
        heldout_every=config.corpus.heldout_every,
        min_count=config.vocab.min_count,
        max_size=config.vocab.max_size,
        folder=data_folder,
    )
