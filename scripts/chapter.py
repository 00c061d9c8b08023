"""The textbook chapter's way of training, as the yardstick of `scripts/bench.py --reference`.

    python scripts/chapter.py --corpus data/ptb.zip --out runs/chapter [--seed 0] [--epochs 5]

Restates the pipeline of d2l.ai 15.3 and 15.4 on the Penn Treebank with the chapter's own choices:
every word, window and negative is drawn once, in Python, before training; a DataLoader pads each
batch of lists; autograd runs through two `nn.Embedding`, a batched product, masked binary
cross-entropy and dense Adam. It is meant to be slow where the chapter is slow. It leaves in the
folder OUT what a run of `w2v train` leaves, as far as the benchmark reads it: `run.json`,
`metrics.jsonl`, and the center vectors as `vectors.vec`.

Shapes: B centers of a batch, L targets of the longest of them, V words, D dimensions.
"""

import argparse
import json
import math
import os
import random
import time
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

# The chapter's settings.
MIN_COUNT, WINDOW, NEGATIVES, SUBSAMPLE, NOISE_POWER = 10, 5, 5, 1e-4, 0.75
DIM, BATCH_SIZE, LEARNING_RATE = 100, 512, 0.002
MAX_WORKERS = 4
NOISE_BUFFER = 10_000  # negatives are drawn that many at a time
UNKNOWN = "<unk>"


class Example(NamedTuple):
    """One center with its contexts and its negatives, all word ids."""

    center: int
    contexts: list[int]
    negatives: list[int]


def read_sentences(corpus: Path) -> list[list[str]]:
    """The words of each line of the training text, from the archive or the text file itself."""
    if corpus.suffix == ".zip":
        with zipfile.ZipFile(corpus) as archive:
            text = archive.read("ptb/ptb.train.txt").decode()
    else:
        text = corpus.read_text(encoding="utf-8")
    return [line.split() for line in text.splitlines()]


def subsample(sentences: list[list[int]], counts: Counter[int], rng: random.Random) -> None:
    """Drops words in place, keeping each with probability sqrt(t / frequency), t = SUBSAMPLE."""
    total = counts.total()
    keep_prob = {word: math.sqrt(SUBSAMPLE * total / count) for word, count in counts.items()}
    for sentence in sentences:
        sentence[:] = [word for word in sentence if rng.random() < keep_prob[word]]


def windows(sentences: list[list[int]], rng: random.Random) -> Iterator[tuple[int, list[int]]]:
    """Each center with the contexts of its own random window."""
    for sentence in sentences:
        if len(sentence) < 2:
            continue
        for place, center in enumerate(sentence):
            radius = rng.randint(1, WINDOW)
            before = sentence[max(0, place - radius) : place]
            yield center, before + sentence[place + 1 : place + 1 + radius]


def noise(counts: Counter[int], rng: random.Random) -> Iterator[int]:
    """Words without end, drawn in proportion to count ** NOISE_POWER."""
    words = list(counts)
    weights = [counts[word] ** NOISE_POWER for word in words]
    while True:
        yield from rng.choices(words, weights, k=NOISE_BUFFER)


def draw_negatives(contexts: list[int], draws: Iterator[int]) -> list[int]:
    """NEGATIVES words per context, none of them a context."""
    negatives: list[int] = []
    while len(negatives) < NEGATIVES * len(contexts):
        word = next(draws)
        if word not in contexts:
            negatives.append(word)
    return negatives


def prepare(sentences: list[list[str]], rng: random.Random) -> tuple[list[str], list[Example]]:
    """The vocabulary, id 0 being the unknown word, and every example of the training set."""
    occurrences = Counter(word for sentence in sentences for word in sentence)
    known = [word for word, count in occurrences.most_common() if count >= MIN_COUNT]
    words = [UNKNOWN, *(word for word in known if word != UNKNOWN)]
    id_of = {word: number for number, word in enumerate(words)}
    encoded = [[id_of.get(word, 0) for word in sentence] for sentence in sentences]
    encoded = [[word for word in sentence if word] for sentence in encoded]
    counts = Counter(word for sentence in encoded for word in sentence)
    subsample(encoded, counts, rng)
    draws = noise(counts, rng)
    return words, [
        Example(center, contexts, draw_negatives(contexts, draws))
        for center, contexts in windows(encoded, rng)
    ]


def collate(examples: list[Example]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Centers (B, 1), and targets, mask and labels (B, L), padded with 0 to the longest."""
    length = max(len(example.contexts) + len(example.negatives) for example in examples)
    centers, targets, mask, labels = [], [], [], []
    for center, contexts, negatives in examples:
        num_targets = len(contexts) + len(negatives)
        centers.append([center])
        targets.append(contexts + negatives + [0] * (length - num_targets))
        mask.append([1.0] * num_targets + [0.0] * (length - num_targets))
        labels.append([1.0] * len(contexts) + [0.0] * (length - len(contexts)))
    return torch.tensor(centers), torch.tensor(targets), torch.tensor(mask), torch.tensor(labels)


def make_tables(num_words: int) -> nn.ModuleDict:
    """The two tables, Xavier uniform."""
    tables = nn.ModuleDict({name: nn.Embedding(num_words, DIM) for name in ("center", "context")})
    for table in tables.values():
        nn.init.xavier_uniform_(table.weight)
    return tables


def batch_loss(tables: nn.ModuleDict, batch: list[Tensor]) -> Tensor:
    """For each center the mean cross-entropy of its real targets, (B,)."""
    centers_B1, targets_BL, mask_BL, labels_BL = batch
    center_B1D, target_BLD = tables["center"](centers_B1), tables["context"](targets_BL)
    logits_BL = torch.bmm(center_B1D, target_BLD.transpose(1, 2)).flatten(1)
    entropy_BL = nn.functional.binary_cross_entropy_with_logits(
        logits_BL, labels_BL, weight=mask_BL, reduction="none"
    )
    return entropy_BL.sum(dim=1) / mask_BL.sum(dim=1)


def train(
    tables: nn.ModuleDict,
    examples: list[Example],
    *,
    epochs: int,
    device: torch.device,
    workers: int,
) -> Iterator[float]:
    """Trains the tables in place and yields the mean loss of each epoch."""
    loader = DataLoader(examples, BATCH_SIZE, shuffle=True, collate_fn=collate, num_workers=workers)
    optimizer = torch.optim.Adam(tables.parameters(), lr=LEARNING_RATE)
    for _ in range(epochs):
        loss_sum = 0.0
        for batch in loader:
            optimizer.zero_grad()
            loss_B = batch_loss(tables, [part.to(device) for part in batch])
            loss_B.sum().backward()
            optimizer.step()
            loss_sum += loss_B.sum().item()
        yield loss_sum / len(examples)


def write_vectors(path: Path, words: list[str], matrix_VD: Tensor) -> None:
    """Writes word2vec text: a line with both sizes, then a word and its numbers a line."""
    with path.open("w", encoding="utf-8") as file:
        file.write(f"{len(words)} {matrix_VD.shape[1]}\n")
        for word, row_D in zip(words, matrix_VD.tolist(), strict=True):
            file.write(" ".join([word, *(f"{value:.6g}" for value in row_D)]) + "\n")


def write_json(path: Path, *values: dict[str, object]) -> None:
    """Writes one JSON object a line."""
    path.write_text("".join(json.dumps(value) + "\n" for value in values))


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", type=Path, required=True, help="ptb.zip or ptb.train.txt")
    parser.add_argument("--out", type=Path, required=True, help="the folder for the results")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument(
        "--workers",
        type=int,
        default=min(MAX_WORKERS, os.cpu_count() or 1),
        help="processes that make batches (the chapter has 4; here no more than there are cores)",
    )
    return parser.parse_args()


def main() -> None:
    """Prepares, trains, and leaves the results in OUT."""
    args = parse_arguments()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(args.seed)
    started_at = time.perf_counter()
    sentences = read_sentences(args.corpus)
    words, examples = prepare(sentences, random.Random(args.seed))  # noqa: S311 (no secret)
    prepared_at = time.perf_counter()
    tables = make_tables(len(words)).to(device)
    epochs = train(tables, examples, epochs=args.epochs, device=device, workers=args.workers)
    losses = list(epochs)
    train_s = time.perf_counter() - prepared_at
    args.out.mkdir(parents=True, exist_ok=True)
    write_vectors(args.out / "vectors.vec", words[1:], tables["center"].weight[1:].cpu())
    events = [{"event": "epoch", "epoch": i, "loss": loss} for i, loss in enumerate(losses, 1)]
    write_json(args.out / "metrics.jsonl", *events)
    facts = {
        "kernel": "chapter",
        "device": device.type,
        "prepare_s": prepared_at - started_at,
        "train_s": train_s,
        "words_per_s": args.epochs * sum(map(len, sentences)) / train_s,
        "centers_per_s": args.epochs * len(examples) / train_s,
    }
    write_json(args.out / "run.json", facts)


if __name__ == "__main__":
    main()
