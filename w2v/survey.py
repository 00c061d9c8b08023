"""What is known of a training before it begins: its text, its kernel and device, its memory.

A config enters; a `Survey` leaves, for `training` to train on and for `stats` to tell of. The text
is read, counted and encoded where that was not done before; nothing else is allocated.
"""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from w2v import devices
from w2v.accord import agree, require_alike
from w2v.config import IN_PLACE, Config
from w2v.corpus import prepare
from w2v.encoded import Corpus, cached_at, settings_of
from w2v.errors import ConfigError, DataError
from w2v.group import Alone, Group
from w2v.kernels.choice import KernelChoice, choose_kernel
from w2v.memory import Needs, needs
from w2v.model import padded
from w2v.portable import given_folder, open_encoded
from w2v.sources import open_source
from w2v.world import World

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
    group: Group | None = None,
) -> Survey:
    """Chooses device and kernel, which are told at once where they cannot be, and opens the corpus.

    Of several processes the first of each host builds the corpus, before the others open it.

    Raises:
        ConfigError: the device is not to be had here, or other processes chose others.
        DownloadError, DataError, StorageError: the corpus, or that of another process.
    """
    group = group or Alone()
    world = group.world
    device, kernel = agree(group, lambda: _chosen(config, world))
    log.info("kernel %s: %s; device %s: %s", kernel.name, kernel.reason, *device)
    require_alike(
        group,
        {"the kernel": kernel.name, "the device": device.device.type},
        error=ConfigError,
        hint="name train.kernel and train.device that all have",
    )

    def opened() -> Corpus:
        return open_corpus(config, data_folder=data_folder, download_progress=download_progress)

    built = agree(group, lambda: opened() if world.is_first_here else None)
    corpus = agree(group, lambda: built or opened())
    require_alike(
        group,
        {"the corpus": corpus.digest},
        error=DataError,
        hint="all processes need the same text and the same settings for it",
    )
    memory = needs(
        vocab_size=len(corpus.vocab),
        dim=config.model.dim,
        row_floats=padded(config.model.dim, kernel.kernel.row_multiple),
        optimizer=config.train.optimizer,
        are_merged=world.size > 1 and config.distributed.merge == "tables",
    )
    return Survey(corpus, kernel, device, memory)


def _chosen(config: Config, world: World) -> tuple[devices.Choice, KernelChoice]:
    device = devices.choose(
        config.train.device,
        only_cpu=IN_PLACE.get(config.train.kernel) == "cpu",
        world=world,
    )
    return device, choose_kernel(
        config.train,
        config.sampling,
        device.device,
        model=config.model,
        distributed=config.distributed,
    )


def open_corpus(
    config: Config,
    *,
    data_folder: Path,
    download_progress: Callable[[int, int | None], None] | None = None,
) -> Corpus:
    """The encoded text that a config names: a folder that is given, else from the cache or built.

    Raises:
        ConfigError: a given folder was encoded with other settings.
        DownloadError, DataError, StorageError: the text.
    """
    if (given := given_folder(config.corpus)) is not None:
        settings = settings_of(config.corpus, config.vocab)
        corpus = open_encoded(given, settings, data_folder=data_folder)
        log.info("corpus encoded: %s words in %s", f"{corpus.raw_words:,}", given)
        return corpus
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


def corpus_folder(config: Config, corpus: Corpus, *, data_folder: Path) -> Path:
    """The folder that a corpus was opened from."""
    return given_folder(config.corpus) or cached_at(corpus.digest, folder=data_folder)
