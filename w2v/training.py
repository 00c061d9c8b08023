"""Training from end to end: a config enters, a finished run folder leaves.

    source -> corpus -> learner -> reports -> metrics, checkpoints -> vectors

`prepare_run` checks all that can fail before time is spent, `execute` trains and writes.
"""

import logging
import platform
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from w2v import __version__, checkpoints, devices
from w2v.config import IN_PLACE, Config, dump_yaml
from w2v.configfile import load_config
from w2v.corpus import Corpus, prepare
from w2v.errors import DataError
from w2v.files import TEMP_PREFIX, require_writable, sweep_temporaries, write_text
from w2v.kernels.choice import KernelChoice, choose_kernel
from w2v.loop import Learner, make_learner, reports
from w2v.memory import Needs, memory_errors, needs, require_memory
from w2v.model import padded
from w2v.reporting import Listener, MetricsLog, Report
from w2v.rundir import RunDir
from w2v.runs import default_run
from w2v.sampling import keep_probabilities
from w2v.sources import data_folder, open_source

log = logging.getLogger(__name__)


class Run(NamedTuple):
    """What is known of a run before its first step."""

    config: Config
    folder: RunDir
    corpus: Corpus
    kernel: KernelChoice
    device: devices.Choice
    needs: Needs
    started_at: datetime
    prepare_s: float


def train(
    config: Config | str | Path, *, run: str | Path | None = None, force: bool = False
) -> RunDir:
    """Trains from Python as `w2v train` does; this is the public `w2v.train`.

    Args:
        config: a `Config`, or what `w2v train --config` takes.
        run: the run folder; by default that of the config, else `runs/` and the config's name.
        force: replace a finished run.

    Raises:
        W2VError: as `prepare_run` and `execute` say.
    """
    if isinstance(config, Config):
        settings, default = config, default_run(Path("python"))
    else:
        loaded = load_config(str(config))
        settings, default = loaded.config, default_run(loaded.path)
    folder = Path(run or settings.output.run or default.path)
    return execute(prepare_run(settings, folder, data_folder=data_folder(), force=force))


def prepare_run(
    config: Config,
    folder: Path,
    *,
    data_folder: Path,
    force: bool,
    download_progress: Callable[[int, int | None], None] | None = None,
) -> Run:
    """Checks all that can fail before training, the cheap first, and opens the corpus.

    Raises:
        ConfigError: the device is not to be had here.
        StorageError: `folder` holds a finished run and `force` is not set, or is not writable; a
            GPU has no room for the tables.
        DownloadError, DataError: the corpus.
    """
    started_at, started = datetime.now(UTC), time.perf_counter()
    device = devices.choose(
        config.train.device, only_cpu=IN_PLACE.get(config.train.kernel) == "cpu"
    )
    kernel = choose_kernel(config.train, config.sampling, device.device)
    log.info("kernel %s: %s; device %s: %s", kernel.name, kernel.reason, *device)
    run_dir = RunDir(folder)
    run_dir.require_free(force=force)
    require_writable(folder)
    source = open_source(config.corpus, data_folder=data_folder, progress=download_progress)
    corpus = prepare(
        source,
        lowercase=config.corpus.lowercase,
        token_pattern=config.corpus.token_pattern,
        heldout_every=config.corpus.heldout_every,
        min_count=config.vocab.min_count,
        max_size=config.vocab.max_size,
        folder=data_folder,
    )
    memory = _needs(config, corpus, kernel)
    require_memory(memory, device.device)
    prepare_s = time.perf_counter() - started
    return Run(config, run_dir, corpus, kernel, device, memory, started_at, prepare_s)


def execute(run: Run, *, listeners: Sequence[Listener] = ()) -> RunDir:
    """Trains and leaves a finished run folder.

    Raises:
        DataError: no pair to train on.
        StorageError: out of memory, or the folder cannot be written.
        DivergedError: loss or tables became NaN or infinite; earlier checkpoints stay.
    """
    config = run.config
    with (
        _threads(config.train.threads),
        memory_errors(run.needs, run.device.device),
        ExitStack() as at_the_end,
    ):
        started = time.perf_counter()
        learner = make_learner(
            run.corpus,
            model=config.model,
            sampling=config.sampling,
            train=config.train,
            kernel=run.kernel.kernel,
            device=run.device.device,
        )  # a kernel may have to be compiled first
        run = run._replace(prepare_s=run.prepare_s + time.perf_counter() - started)
        metrics = MetricsLog(at_the_end.enter_context(open_run(run)))
        checkpointer = checkpoints.Checkpointer(
            run.folder.checkpoints,
            learner.tensors(),
            every_s=config.output.checkpoint_every_s,
            keep=config.output.keep_checkpoints,
        )
        everyone = (metrics, *listeners, checkpointer)
        for listener in everyone:
            at_the_end.callback(listener.close)
        epochs = []
        for report in reports(learner, run.corpus, config.train):
            for listener in everyone:
                listener(report)
            if report.epoch_ended:
                epochs.append(report)
        checkpointer.settle()
        finish_run(run, learner, epochs, metrics=metrics.path)
    return run.folder


def plan(run: Run) -> dict[str, int]:
    """What a run would do, in numbers, before anything is allocated."""
    config, counts_V = run.config, run.corpus.vocab.known_counts_V
    keep_V = keep_probabilities(
        counts_V,
        threshold=config.sampling.subsample,
        formula=config.sampling.subsample_formula,
    )
    return {
        "raw words": run.corpus.raw_words,
        "words in vocabulary": len(run.corpus.train.ids_N),
        "sentences": len(run.corpus.train.offsets_S) - 1,
        "vocabulary": len(run.corpus.vocab),
        "words an epoch after subsampling": round(float(counts_V @ keep_V)),
        "epochs": config.train.epochs,
        "bytes of the two tables": run.needs.table_bytes,
    }


@contextmanager
def open_run(run: Run) -> Iterator[Path]:
    """Makes the folder ready, says in it what is going on, and yields the place for metrics.

    What an earlier, unfinished attempt left goes. A finished run that is to be replaced keeps its
    files, checkpoints aside, until `finish_run` puts all the new ones in their place.
    """
    run_dir = run.folder
    if run_dir.holds_finished():
        log.info("the vectors in %s stay until this run ends; checkpoints go", run_dir.path)
        checkpoints.prune(run_dir.checkpoints, keep=0)
        sweep_temporaries(run_dir.path)
        metrics = run_dir.path / f"{TEMP_PREFIX}{run_dir.metrics.name}"
        try:
            yield metrics
        finally:
            metrics.unlink(missing_ok=True)
        return
    if states := checkpoints.complete(run_dir.checkpoints):
        log.warning("starting over in %s: %s and older go", run_dir.path, states[-1].name)
    checkpoints.prune(run_dir.checkpoints, keep=0)
    run_dir.clear()
    run_dir.write_started(_description(run))
    write_text(run_dir.config, dump_yaml(run.config))
    try:
        yield run_dir.metrics
    except DataError:
        if not checkpoints.complete(run_dir.checkpoints):  # nothing was trained
            run_dir.clear()
            with suppress(OSError):  # not empty
                run_dir.path.rmdir()
        raise


def finish_run(run: Run, learner: Learner, epochs: Sequence[Report], *, metrics: Path) -> None:
    """Writes config, metrics, words, vectors and run.json, which makes the run finished."""
    last, train_s = epochs[-1], epochs[-1].run_seconds
    outcome = {
        "steps": last.step,
        "loss": last.loss,
        "heldout_loss": last.heldout_loss,
        "prepare_s": round(run.prepare_s, 3),
        "train_s": round(train_s, 3),
        "words_per_s": round(sum(epoch.words for epoch in epochs) / train_s),
        "centers_per_s": round(sum(epoch.centers for epoch in epochs) / train_s),
    }
    run.folder.write_finished(
        _description(run) | outcome,
        vocab=run.corpus.vocab,
        center_VD=learner.model.center.weight.detach().cpu().contiguous().numpy(),
        context_VD=learner.model.context.weight.detach().cpu().contiguous().numpy(),
        dropped=run.corpus.dropped,
        others={
            run.folder.config: dump_yaml(run.config).encode(),
            run.folder.metrics: metrics.read_bytes(),
        },
    )


def _description(run: Run) -> dict[str, object]:
    """What run.json tells of a run, finished or not."""
    config, corpus = run.config, run.corpus
    return {
        "started_at": run.started_at.isoformat(),
        "command": sys.argv,
        "versions": {
            "w2v": __version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
        },
        "machine": f"{platform.system()} {platform.machine()}",
        "kernel": run.kernel.name,
        "kernel_reason": run.kernel.reason,
        "device": str(run.device.device),
        "device_reason": run.device.reason,
        "threads": torch.get_num_threads(),
        "seed": config.train.seed,
        "epochs": config.train.epochs,
        "min_count": config.vocab.min_count,
        "corpus": {
            "name": config.corpus.name,
            "digest": corpus.digest,
            "raw_words": corpus.raw_words,
            "words": len(corpus.train.ids_N),
            "sentences": len(corpus.train.offsets_S) - 1,
        },
        "vocab_size": len(corpus.vocab),
        "dim": config.model.dim,
    }


def _needs(config: Config, corpus: Corpus, kernel: KernelChoice) -> Needs:
    """The memory of center and context table, with what the kernel wants between rows."""
    return needs(
        vocab_size=len(corpus.vocab),
        dim=config.model.dim,
        row_floats=padded(config.model.dim, kernel.kernel.row_multiple),
        optimizer=config.train.optimizer,
    )


@contextmanager
def _threads(number: int | None) -> Iterator[None]:
    """Lets torch use so many CPU threads, and afterwards as many as before."""
    before = torch.get_num_threads()
    if number is not None:
        torch.set_num_threads(number)
    try:
        yield
    finally:
        if number is not None:
            torch.set_num_threads(before)
