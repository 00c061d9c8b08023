"""The kernels on a GPU: right, how fast, how near the limit, how good.

    python scripts/bench_gpu.py --pack OUT.npz CONFIG [-s KEY=VALUE]    where w2v is installed
    python scripts/bench_gpu.py PACKED.npz ... [--eval-data DIR] [--quick] [--epochs N]

The first encodes the corpus of a config and packs it with the settings into one file of some
40 MB for 23 million words. The second runs on the machine with the GPU, with this repository and
nothing installed but torch, triton and numpy:

1. the copy bandwidth of the device, and the relative error of each kernel against float64;
2. a span of each kernel under `torch.cuda.set_sync_debug_mode("error")`: nothing waits;
3. for each packed corpus, with its own settings, several numbers of centers at a time and several
   ways to compile: seconds, centers/s, raw words/s, bytes/s through the tables beside the copy
   bandwidth, the share of time in which the device works, loss, and the scores of the evaluation
   sets in DIR.

Bytes are counted as the kernels move them: for each block, every row read and written once. It is
one file, though a long one, so that it can be carried there.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent.parent))  # the repository is not installed there

from w2v.batches import Batch, blocked_batch
from w2v.draws import Sampler, SpanText, Streams, make_sampler
from w2v.evaluate import Score, analogies, similarity
from w2v.feed import Feed
from w2v.kernels import bmm
from w2v.kernels.recorded import tensor_cores
from w2v.model import SkipGram
from w2v.optimizers import SGD, make_optimizer
from w2v.schedule import learning_rate
from w2v.sentences import Sentences
from w2v.testsets import read_pairs, read_questions
from w2v.vectors import WordVectors

QUESTIONS = "questions-words.txt"
IN_FLIGHT = (1024, 2048, 8192, 16384)  # beside what the kernel takes by itself
COPY_BYTES = 1 << 32
MOST_ERROR = 1e-3  # relative, of the change of a table
WARM_UP_WORDS = 100_000


class Packed(NamedTuple):
    """An encoded corpus and the settings to train it with."""

    name: str
    sentences: Sentences
    raw_words: int
    words: list[str]
    counts_V: np.ndarray
    sampling: dict[str, Any]
    model: dict[str, Any]
    train: dict[str, Any]


class Trial(NamedTuple):
    """One way to train."""

    kernel: str
    centers: int | None = None  # at a time; None: what the settings say
    launch: tuple[tuple[str, Any], ...] = ()  # of triton, where it differs


class Outcome(NamedTuple):
    """What a trial came to."""

    center_VD: np.ndarray  # the vectors
    seconds: float
    centers: int
    losses: list[float]  # by epoch
    busy: float  # share of the time in which the device works; nan without a GPU


# --- packing ----------------------------------------------------------------------------------


def pack(out: Path, config_name: str, overrides: Sequence[str]) -> None:
    """Encodes the corpus of a config; writes it with the settings that a kernel needs."""
    from w2v.configfile import load_config
    from w2v.sources import data_folder
    from w2v.training import prepare_run

    config = load_config(config_name, list(overrides)).config
    run = prepare_run(config, out.parent / "unused", data_folder=data_folder(), force=False)
    corpus = run.corpus
    ids_N = corpus.train.ids_N[:]
    settings = {name: getattr(config, name).model_dump() for name in ("sampling", "model", "train")}
    np.savez_compressed(
        out,
        ids=ids_N.astype(np.uint16) if len(corpus.vocab) < 2**16 else ids_N,
        lengths=np.diff(corpus.train.offsets_S[:]).astype(np.uint32),
        counts=corpus.vocab.known_counts_V,
        words=np.frombuffer("\n".join(corpus.vocab.words).encode(), np.uint8),
        about=np.frombuffer(json.dumps(settings | {"raw": corpus.raw_words}).encode(), np.uint8),
    )
    print(f"{out}: {len(ids_N):,} words, {out.stat().st_size / 1e6:.1f} MB")


def unpack(path: Path) -> Packed:
    """Reads what `pack` wrote."""
    with np.load(path, allow_pickle=False) as parts:
        about = json.loads(parts["about"].tobytes())
        offsets_S = np.concatenate([[0], parts["lengths"].astype(np.int64).cumsum()])
        return Packed(
            path.stem,
            Sentences(parts["ids"].astype(np.int32), offsets_S),
            about["raw"],
            parts["words"].tobytes().decode().split("\n"),
            parts["counts"],
            *(about[name] for name in ("sampling", "model", "train")),
        )


# --- training ---------------------------------------------------------------------------------


def kernel_of(name: str) -> Any:
    """The module of a kernel; triton's is loaded where it is asked for."""
    if name == "bmm":
        return bmm
    from w2v.kernels import triton

    return triton


def prepared(
    packed: Packed, trial: Trial, device: torch.device, *, seed: int
) -> tuple[SkipGram, Sampler, Any]:
    """Tables, sampler and the prepared kernel of a trial."""
    kernel, train = kernel_of(trial.kernel), packed.train
    sampler = make_sampler(packed.counts_V, **packed.sampling, device=device)
    model = SkipGram(
        len(packed.counts_V),
        packed.model["dim"],
        init=packed.model["init"],
        generator=torch.Generator().manual_seed(seed),
        row_multiple=kernel.KERNEL.row_multiple,
    ).on(device)
    optimizer = make_optimizer(train["optimizer"], model)
    rules = {"objective": train["objective"], "lr": train["lr"]}
    options: dict[str, Any] = {"batch_size": train["batch_size"]}
    if trial.kernel == "triton" and trial.launch:
        options["launch"] = kernel.Launch(**dict(trial.launch))
    if trial.centers is not None:
        options["batch_size"] = trial.centers
        if isinstance(optimizer, SGD):
            optimizer.steady(sampler, centers=trial.centers, **rules)
    return model, sampler, kernel.prepare(model, sampler, optimizer, **options, **rules)


def streams_of(device: torch.device, *place: int) -> Streams:
    """The random streams of a place in the run."""
    seeds = np.random.SeedSequence(place).generate_state(2, np.uint32)
    return Streams(*(torch.Generator(device).manual_seed(int(seed)) for seed in seeds))


def train(packed: Packed, trial: Trial, device: torch.device, *, epochs: int, seed: int) -> Outcome:
    """Trains after a short warm-up of other tables; times everything but preparation."""
    few = packed._replace(sentences=head(packed.sentences, WARM_UP_WORDS))
    for text, passes in ((few, 1), (packed, epochs)):
        model, sampler, train_span = prepared(text, trial, device, seed=seed)
        feed = Feed(
            text.sentences,
            max_words=kernel_of(trial.kernel).KERNEL.span_words,
            keep_prob_V=sampler.keep_prob_V.cpu().numpy(),
            device=device,
        )
        wait(device)
        began, told = time.perf_counter(), []
        for epoch in range(passes):
            told.append(list(one_epoch(text, feed, train_span, device, epoch, passes, seed)))
        wait(device)
        seconds = time.perf_counter() - began
    sums = [
        [sum(float(part) for part in column) for column in zip(*one, strict=True)] for one in told
    ]
    center_VD = model.center.weight.detach().cpu().contiguous().numpy().copy()
    plain = trial.centers is None and not trial.launch
    busy = busy_share(feed, train_span, device) if plain else float("nan")
    centers = round(sum(centers for _, centers in sums))
    return Outcome(center_VD, seconds, centers, [loss / max(n, 1) for loss, n in sums], busy)


def one_epoch(
    packed: Packed, feed: Feed, train_span: Any, device: torch.device, epoch: int, epochs: int,
    seed: int,
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:  # fmt: skip
    """Yields loss sums and numbers of centers, left on the device."""
    num_ids, passed = len(packed.sentences.ids_N), 0
    for number in range(len(feed.cuts)):
        text = feed[number]
        ends = (passed, passed + len(text.ids_N))
        rates = [
            learning_rate(
                packed.train["lr_schedule"],
                lr=packed.train["lr"],
                done=(epoch + at / num_ids) / epochs,
            )
            for at in ends
        ]
        passed = ends[1]
        streams = streams_of(device, seed, epoch, number)
        for step in train_span(text, lr=(rates[0], rates[1]), streams=streams):
            yield step.tally.loss_sum, step.tally.centers


def busy_share(feed: Feed, train_span: Any, device: torch.device) -> float:
    """The share of a span's time in which the device works; it trains on.

    The span's seconds without a profiler, and the device's own seconds with it.
    """
    if device.type != "cuda":
        return float("nan")

    def one_span() -> float:
        wait(device)
        began = time.perf_counter()
        for _ in train_span(feed[0], lr=(1e-6, 1e-6), streams=streams_of(device, 0)):
            pass
        wait(device)
        return time.perf_counter() - began

    seconds = min(one_span() for _ in range(3))
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        one_span()
    return sum(event.self_device_time_total for event in profile.key_averages()) / 1e6 / seconds


def head(sentences: Sentences, num_words: int) -> Sentences:
    """The first sentences, of about so many words."""
    last = int(np.searchsorted(sentences.offsets_S, num_words)) + 1
    offsets_S = sentences.offsets_S[: last + 1]
    return Sentences(sentences.ids_N[: offsets_S[-1]], offsets_S)


def wait(device: torch.device) -> None:
    """Until the device has done all it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


# --- checks -----------------------------------------------------------------------------------


class Block(NamedTuple):
    """One block of words of which none stands twice, so that a use is a row's only one."""

    around: torch.Tensor
    left_T: torch.Tensor
    right_T: torch.Tensor
    noise: torch.Tensor
    batch: Batch  # the same, as `bmm` sees it


CHECKED = {"block": 16, "window": 5, "shared_negatives": 24, "subsample": None}  # fit one tile
CHECKED_COUNTS = np.array([0] + [100] * 64)


def a_block(sampling: dict[str, Any]) -> Block:
    """A block to check on, drawn at random."""
    T, W, J = sampling["block"], sampling["window"], sampling["shared_negatives"]
    rng = np.random.default_rng(0)
    words = torch.tensor(rng.permutation(T + J) + 1)
    radii = torch.tensor(rng.integers(1, W + 1, (2, T)))
    left_T, right_T = (
        torch.minimum(*pair)
        for pair in ((torch.arange(T), radii[0]), (T - 1 - torch.arange(T), radii[1]))
    )
    around = torch.nn.functional.pad(words[:T], (W, W))
    sampler = make_sampler(CHECKED_COUNTS, **sampling, device=torch.device("cpu"))
    parts = (around[None], left_T[None], right_T[None], words[None, T:])
    return Block(around, left_T, right_T, words[None, T:], blocked_batch(*parts, sampler))


def changes(
    name: str, block: Block, sampling: dict[str, Any], dim: int, objective: Any,
    device: torch.device,
) -> list[torch.Tensor]:  # fmt: skip
    """How one step changes the tables: of a kernel, or "float64" of the formula."""
    model = fresh(dim)
    model = model.double() if name == "float64" else model.on(device)
    before = [table.detach().cpu().clone() for table in model.parameters()]
    updates = SGD(*(table.data for table in model.parameters()))
    if name == "triton":
        sampler = make_sampler(CHECKED_COUNTS, **sampling, device=device)
        kernel = kernel_of(name)
        trainer = kernel.Trainer(model, sampler, updates, objective, kernel.Launch())
        drawn = (part.int().to(device) for part in block[:4])
        trainer.train(*drawn, num_blocks=1, lr=(0.05, 0.05))
    else:
        batch = block.batch._replace(
            labels_BTL=block.batch.labels_BTL.to(model.center.weight.dtype),
            weights_BTL=block.batch.weights_BTL.to(model.center.weight.dtype),
        )
        there = Batch(*(part.to(model.center.weight.device) for part in batch))
        with tensor_cores():  # as the recorded step has it
            rows, _ = bmm.gradients(model, there, objective=objective)
        updates.step([rows], lr=0.05)
    return [
        table.detach().cpu() - was for table, was in zip(model.parameters(), before, strict=True)
    ]


def check_kernels(packed: Packed, device: torch.device, kernels: Sequence[str]) -> None:
    """Prints the relative error of a block's change of the tables against float64."""
    sampling, dim = packed.sampling | CHECKED, packed.model["dim"]
    block = a_block(sampling)
    for objective in ("pair_sum", "center_mean"):
        truth = changes("float64", block, sampling, dim, objective, device)
        for name in kernels:
            found = changes(name, block, sampling, dim, objective, device)
            errors = [
                float((mine.double() - exact).norm() / exact.norm())
                for mine, exact in zip(found, truth, strict=True)
            ]
            verdict = "right" if max(errors) < MOST_ERROR else "WRONG"
            told = ", ".join(f"{error:.1e}" for error in errors)
            print(f"{name}, {objective}: relative error {told}: {verdict}")


def fresh(dim: int) -> SkipGram:
    """Tables away from the flat middle of the sigmoid."""
    generator = torch.Generator().manual_seed(0)
    model = SkipGram(len(CHECKED_COUNTS), dim, init="xavier", generator=generator, row_multiple=8)
    with torch.no_grad():
        for table in model.parameters():
            table *= 3
    return model


def check_waiting(packed: Packed, trial: Trial, device: torch.device) -> None:
    """Trains a span; where the host has to wait for the device, torch raises."""
    few = packed._replace(sentences=head(packed.sentences, WARM_UP_WORDS))
    _, sampler, train_span = prepared(few, trial, device, seed=0)
    feed = Feed(
        few.sentences,
        max_words=WARM_UP_WORDS * 2,
        keep_prob_V=sampler.keep_prob_V.cpu().numpy(),
        device=device,
    )
    text: SpanText = feed[0]
    streams = streams_of(device, 0)
    if device.type == "cuda":
        torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in train_span(text, lr=(0.01, 0.01), streams=streams):
            pass
    finally:
        if device.type == "cuda":
            torch.cuda.set_sync_debug_mode("default")
    print(f"{trial.kernel} on {packed.name}: a span without waiting")


# --- the table --------------------------------------------------------------------------------


def copy_rate(device: torch.device) -> float:
    """Bytes a second of a copy on the device, read and written."""
    if device.type != "cuda":
        return float("nan")
    source = torch.empty(COPY_BYTES, dtype=torch.uint8, device=device).random_()
    target, times = torch.empty_like(source), []
    for _ in range(8):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        target.copy_(source)
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) / 1e3)
    return 2 * COPY_BYTES / float(np.median(times))


def bytes_of_a_center(packed: Packed) -> float:
    """What goes through the tables for a center: each row of its block read and written."""
    sampling = packed.sampling
    T, W, J = sampling["block"], sampling["window"], sampling["shared_negatives"]
    rows = 2 * T + 2 * W + J if J else 1 + (W + 1) * (1 + sampling["negatives"])
    return 2 * 4 * packed.model["dim"] * rows / T


def scores(packed: Packed, center_VD: np.ndarray, folder: Path | None) -> list[Score]:
    """The evaluation sets of the folder, as `w2v eval` would score them."""
    if folder is None:
        return []
    vectors = WordVectors(packed.words[1:], center_VD[1:])
    pairs = [
        similarity(vectors, read_pairs(path), name=path.stem)
        for path in sorted(folder.glob("*.tsv"))
    ]
    return [*pairs, analogies(vectors, read_questions(folder / QUESTIONS))]


def trials_of(packed: Packed, kernels: Sequence[str], *, quick: bool) -> list[Trial]:
    """What is tried with a corpus: its own settings, numbers of centers, ways to compile."""
    trials = [Trial("bmm")]
    in_place = packed.sampling["shared_negatives"] and packed.train["optimizer"] != "adam"
    if in_place:
        trials += [Trial("triton")]
    if in_place and not quick:
        trials += [Trial(name, centers) for centers in IN_FLIGHT for name in ("bmm", "triton")]
        ways: list[dict[str, Any]] = [
            {"warps": 4}, {"precision": "tf32"}, {"precision": "tf32", "warps": 4},
            {"targets": 32}, {"targets": 32, "warps": 4}, {"columns": 64},
        ]  # fmt: skip
        trials += [Trial("triton", launch=tuple(way.items())) for way in ways]
    return [trial for trial in trials if trial.kernel in kernels]


def main() -> None:
    """Packs, or checks and measures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("files", nargs="*", type=Path, help="packed corpora")
    parser.add_argument("--pack", nargs=2, metavar=("OUT", "CONFIG"), help="encode and pack")
    parser.add_argument("-s", "--set", action="append", default=[], help="setting, with --pack")
    parser.add_argument("--eval-data", type=Path, help="folder of *.tsv and questions-words.txt")
    parser.add_argument("--quick", action="store_true", help="the settings as they are, no others")
    parser.add_argument("--epochs", type=int, help="instead of the config's")
    parser.add_argument("--seeds", type=int, default=1, help="of the settings as they are")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--kernels", nargs="+", default=["bmm", "triton"])
    options = parser.parse_args()
    if options.pack:
        pack(Path(options.pack[0]), options.pack[1], options.set)
        return
    if not options.files:
        parser.error("name a packed corpus, or --pack one")
    device = torch.device(options.device)
    copied = copy_rate(device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    print(f"{name}, torch {torch.__version__}, a copy moves {copied / 1e12:.2f} TB/s")
    for path in options.files:
        packed = unpack(path)
        print(f"\n## {packed.name}: {packed.raw_words:,} words, {len(packed.words):,} types")
        check_kernels(packed, device, options.kernels)
        for trial in trials_of(packed, options.kernels, quick=options.quick):
            plain = trial.centers is None and not trial.launch
            if plain:
                check_waiting(packed, trial, device)
            for seed in range(options.seeds if plain else 1):
                epochs = options.epochs or packed.train["epochs"]
                try:
                    outcome = train(packed, trial, device, epochs=epochs, seed=seed)
                except Exception as error:  # a way that fails must not hide the others
                    print(f"{trial}: {type(error).__name__}: {error}", flush=True)
                    if "device-side assert" in str(error):
                        raise  # nothing runs on the device after that
                    continue
                tell(packed, trial, outcome, copied, epochs, options.eval_data)


def tell(
    packed: Packed, trial: Trial, outcome: Outcome, copied: float, epochs: int, folder: Path | None
) -> None:
    """Prints one line."""
    rate = outcome.centers / outcome.seconds
    moved = rate * bytes_of_a_center(packed)
    way = ", ".join(f"{key}={value}" for key, value in trial.launch) or "as it is"
    quality = " ".join(
        f"{score.name} {score.value:.3f}" for score in scores(packed, outcome.center_VD, folder)
    )
    losses = " ".join(f"{loss:.3f}" for loss in outcome.losses)
    print(
        f"{trial.kernel} {trial.centers or 'own'} centers, {way}: {outcome.seconds:.3f} s, "
        f"{rate / 1e6:.2f} M centers/s, {epochs * packed.raw_words / outcome.seconds / 1e6:.1f} M "
        f"words/s, {moved / 1e12:.3f} TB/s ({moved / copied:.0%} of a copy), busy "
        f"{outcome.busy:.0%}, loss {losses}; {quality}",
        flush=True,
    )


if __name__ == "__main__":
    main()
