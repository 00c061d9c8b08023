"""gensim's skip-gram with negative sampling, as a peer of `scripts/bench.py --corpus`.

    python scripts/train_gensim.py --corpus FILE --out FOLDER --dim 100 --window 5 ...

Trains from a text file (`corpus_file`, the fast way: no Python in the loop) and leaves in FOLDER
`vectors.bin`, word2vec binary, and `run.json` with the same keys as a run of `w2v train`:

    prepare_s        the vocabulary is counted, the tables are made
    train_s          `Word2Vec.train` alone
    words_per_s      raw words of the text x epochs / train_s
    centers_per_s    gensim's effective words / train_s: what vocabulary and subsampling leave

gensim cuts a line at 10,000 words and keeps words by word2vec.c's formula, sqrt(t/f) + t/f.
"""

import argparse
import json
import time
from pathlib import Path

import gensim
from gensim.models import Word2Vec

VECTORS = "vectors.bin"


def parse_arguments() -> argparse.Namespace:
    """The command line; every setting is named, so that none is gensim's own default."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", type=Path, required=True, help="text, a sentence a line")
    parser.add_argument("--out", type=Path, required=True, help="the folder for the results")
    for name in ("dim", "window", "negatives", "min-count", "epochs", "threads", "seed"):
        parser.add_argument(f"--{name}", type=int, required=True)
    for name in ("subsample", "noise-power", "lr", "min-lr"):
        parser.add_argument(f"--{name}", type=float, required=True)
    return parser.parse_args()


def main() -> None:
    """Counts, trains, and leaves the results in OUT."""
    args = parse_arguments()
    model = Word2Vec(
        sg=1,
        hs=0,
        vector_size=args.dim,
        window=args.window,
        negative=args.negatives,
        ns_exponent=args.noise_power,
        sample=args.subsample,
        min_count=args.min_count,
        epochs=args.epochs,
        alpha=args.lr,
        min_alpha=args.min_lr,
        workers=args.threads,
        seed=args.seed,
    )
    corpus = str(args.corpus)
    started_at = time.perf_counter()
    model.build_vocab(corpus_file=corpus)
    prepared_at = time.perf_counter()
    centers, _ = model.train(
        corpus_file=corpus,
        total_examples=model.corpus_count,
        total_words=model.corpus_total_words,
        epochs=model.epochs,
    )
    train_s = time.perf_counter() - prepared_at
    args.out.mkdir(parents=True, exist_ok=True)
    model.wv.save_word2vec_format(str(args.out / VECTORS), binary=True)
    facts = {
        "kernel": f"gensim {gensim.__version__}, corpus_file",
        "device": "cpu",
        "prepare_s": prepared_at - started_at,
        "train_s": train_s,
        "words_per_s": args.epochs * model.corpus_total_words / train_s,
        "centers_per_s": centers / train_s,
    }
    (args.out / "run.json").write_text(json.dumps(facts) + "\n")


if __name__ == "__main__":
    main()
