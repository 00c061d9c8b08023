"""A small text classifier on top of word vectors: frozen, trained on, and from scratch to compare.

    python scripts/classify.py VECTORS [--data FILE [--test FILE]] [--labeled 500] [--epochs 20]

VECTORS is a run folder or a vector file. FILE has a label, a tab and a text on each line; without a
test file a fifth of the lines, drawn at random, is kept for the test. Without any file the texts
are sentences of the documentation of this Python, and the label is whose it is: the standard
library's, numpy's or torch's.

The model is two layers: an `nn.EmbeddingBag`, which averages the vectors of a text's words, and an
`nn.Linear`, which scores the labels. Three ways to get the first one are compared:

    frozen      the vectors as they are; only the linear layer is trained
    tuned       the vectors are where training starts
    scratch     random numbers are; what words mean must be learned from the labels alone

Printed is, for each way, the share of right answers on the texts it was trained on and on those it
was not, mean and spread over --seeds. `chance` is who always answers with the commonest label.

Shapes: B texts of a batch, N words of them, V words, D dimensions, C labels.
"""

import argparse
import sys
import sysconfig
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from w2v import runs
from w2v.embed import to_bags
from w2v.errors import DataError, W2VError
from w2v.rundir import RunDir
from w2v.sources import pydoc, read_texts
from w2v.tokens import TokenRule
from w2v.vectors import WordVectors

WAYS = ("frozen", "tuned", "scratch")
TEST_SHARE = 0.2
BATCH_SIZE = 32
LEARNING_RATE = 0.01
TUNING_RATE = 0.001  # of vectors that know something already
BLOCK_BYTES = 2**20


class Example(NamedTuple):
    """A text and what it is."""

    label: str
    text: str


class Encoded(NamedTuple):
    """Texts as numbers: the ids of each one's known words, and the number of its label."""

    ids: list[np.ndarray]
    labels_B: Tensor


class Classifier(nn.Module):
    """The mean of a text's vectors, scored for each label."""

    def __init__(self, bag: nn.EmbeddingBag, num_labels: int) -> None:
        super().__init__()
        self.bag = bag
        self.linear = nn.Linear(bag.embedding_dim, num_labels)

    def forward(self, ids_N: Tensor, starts_B: Tensor) -> Tensor:
        """The scores, (B, C), of texts whose words lie end to end and begin at `starts_B`."""
        scores_BC: Tensor = self.linear(self.bag(ids_N, starts_B))
        return scores_BC


def read_examples(path: Path) -> list[Example]:
    """The lines of a file, each a label, a tab and a text."""
    lines = [
        line
        for block in read_texts([path], block_bytes=BLOCK_BYTES)
        for line in block.removesuffix("\n").split("\n")
    ]
    examples = [Example(*line.split("\t", 1)) for line in lines if line.count("\t")]
    if len(examples) < len(lines):
        number = next(number for number, line in enumerate(lines, 1) if "\t" not in line)
        raise DataError(f"{path}: line {number}: expected a label, a tab and a text")
    return examples


def documentation() -> list[Example]:
    """Sentences of three documentations, as many of each, labeled with whose they are."""
    folders = {"python": Path(sysconfig.get_path("stdlib"))}
    for name in pydoc.PACKAGES:
        if (folder := pydoc.package_folder(name)) is not None:
            folders[name] = folder
    found = {name: pydoc.distinct_sentences(pydoc.sources(at)) for name, at in folders.items()}
    fewest = min(map(len, found.values()))
    rng = np.random.default_rng(0)
    return [
        Example(name, sentences[i])
        for name, sentences in found.items()
        for i in rng.permutation(len(sentences))[:fewest]
    ]


def encode(
    vectors: WordVectors, examples: Sequence[Example], rule: TokenRule, labels: Sequence[str]
) -> Encoded:
    """Cuts texts into words as the run's own were, and looks up words and labels."""
    text = "".join(example.text.replace("\n", " ") + "\n" for example in examples)
    bags = to_bags(vectors, text, rule=rule)
    ids = np.split(bags.ids_N, bags.starts_B[1:])
    return Encoded(ids, torch.tensor([labels.index(example.label) for example in examples]))


def batch(ids: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
    """The words of several texts end to end, (N,), and where each text begins, (B,)."""
    starts_B = np.cumsum([0, *map(len, ids[:-1])])
    return torch.from_numpy(np.concatenate(ids)), torch.from_numpy(starts_B)


def make_bag(vectors: WordVectors, way: str, rng: np.random.Generator) -> nn.EmbeddingBag:
    """The first layer, in one of WAYS."""
    if way == "scratch":
        spread = float(vectors.matrix.std())
        random_VD = rng.normal(0, spread, vectors.matrix.shape).astype(np.float32)
        return WordVectors(vectors.words, random_VD).to_embedding_bag(freeze=False)
    return vectors.to_embedding_bag(freeze=way == "frozen")


def make_optimizer(model: Classifier, way: str) -> torch.optim.Adam:
    """Adam for what is not frozen."""
    groups = [{"params": model.linear.parameters(), "lr": LEARNING_RATE}]
    if way != "frozen":
        rate = TUNING_RATE if way == "tuned" else LEARNING_RATE
        groups.append({"params": model.bag.parameters(), "lr": rate})
    return torch.optim.Adam(groups)


def train(
    model: Classifier,
    optimizer: torch.optim.Adam,
    data: Encoded,
    *,
    epochs: int,
    rng: np.random.Generator,
) -> None:
    """Trains by cross-entropy, all texts in a new order in every epoch."""
    for _ in range(epochs):
        for chosen_B in np.array_split(
            rng.permutation(len(data.ids)), -(-len(data.ids) // BATCH_SIZE)
        ):
            optimizer.zero_grad()
            scores_BC = model(*batch([data.ids[i] for i in chosen_B]))
            nn.functional.cross_entropy(scores_BC, data.labels_B[chosen_B]).backward()
            optimizer.step()


def accuracy(model: Classifier, data: Encoded) -> float:
    """The share of texts whose label has the highest score."""
    with torch.inference_mode():
        scores_BC = model(*batch(data.ids))
    return float((scores_BC.argmax(dim=1) == data.labels_B).float().mean())


def split(
    examples: Sequence[Example], test: Sequence[Example], labeled: int, rng: np.random.Generator
) -> tuple[list[Example], list[Example]]:
    """`labeled` texts to train on, and the test's: a share of all where there are none."""
    shuffled = [examples[i] for i in rng.permutation(len(examples))]
    if not test:
        num_test = max(1, round(TEST_SHARE * len(shuffled)))
        test, shuffled = shuffled[:num_test], shuffled[num_test:]
    return shuffled[:labeled], list(test)


def measure(
    vectors: WordVectors, rule: TokenRule, args: argparse.Namespace
) -> Iterator[tuple[str, float, float]]:
    """Trains in every way with every seed; yields the way and its two accuracies."""
    examples = read_examples(args.data) if args.data else documentation()
    test = read_examples(args.test) if args.test else []
    labels = sorted({example.label for example in (*examples, *test)})
    for seed in range(args.seeds):
        parts = split(examples, test, args.labeled, np.random.default_rng(seed))
        if not all(parts):
            raise DataError(f"too few texts: {len(parts[0])} to train on, {len(parts[1])} to test")
        commonest = Counter(example.label for example in parts[0]).most_common(1)[0][0]
        chance = [sum(example.label == commonest for example in part) for part in parts]
        yield "chance", chance[0] / len(parts[0]), chance[1] / len(parts[1])
        learned, held_out = (encode(vectors, part, rule, labels) for part in parts)
        for way in WAYS:
            torch.manual_seed(seed)  # of the linear layer's first values
            rng = np.random.default_rng(seed)
            model = Classifier(make_bag(vectors, way, rng), len(labels))
            train(model, make_optimizer(model, way), learned, epochs=args.epochs, rng=rng)
            yield way, accuracy(model, learned), accuracy(model, held_out)


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("vectors", type=Path, help="a run folder, or a vector file")
    parser.add_argument("--data", type=Path, metavar="FILE", help="lines of label, tab, text")
    parser.add_argument("--test", type=Path, metavar="FILE", help="as --data, to test on")
    parser.add_argument("--labeled", type=int, default=500, help="texts to train on, at most")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args(argv)
    if args.test and not args.data:
        parser.error("--test needs --data")
    if min(args.labeled, args.epochs, args.seeds) < 1:
        parser.error("--labeled, --epochs and --seeds are at least 1")
    return args


def main(argv: Sequence[str] | None = None) -> None:
    """Trains, compares and prints a table."""
    args = parse_arguments(argv)
    try:
        chosen = RunDir(args.vectors) if args.vectors.is_dir() else args.vectors
        rule = TokenRule(*runs.text_rule(chosen))
        found = list(measure(runs.load_table(chosen, "center"), rule, args))
    except W2VError as error:
        print(f"classify: error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    print("way", "trained on", "test", "spread", sep="\t")
    for way in ("chance", *WAYS):
        on_training, on_test = zip(*(rest for name, *rest in found if name == way), strict=True)
        row = (np.mean(on_training), np.mean(on_test), np.std(on_test))
        print(way, *(f"{value:.3f}" for value in row), sep="\t")


if __name__ == "__main__":
    main()
