"""Prints the nearest words of a few words, one word a line.

    python scripts/neighbours.py --run runs/quickstart float32 lowercase thread

A word that is not in the vocabulary is reported on stderr and skipped.
"""

import argparse
import sys
from pathlib import Path

import w2v
from w2v.errors import DataError

NUM_NEIGHBORS = 5


def main() -> None:
    """Reads the run folder and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, required=True, help="the folder of a finished run")
    parser.add_argument("words", nargs="+", metavar="WORD")
    args = parser.parse_args()
    try:
        vectors = w2v.load(args.run)
    except DataError as error:
        sys.exit(str(error))
    width = max(map(len, args.words))
    for word in args.words:
        try:
            neighbors = vectors.similar(word, k=NUM_NEIGHBORS)
        except DataError as error:
            print(f"{error}, skipped", file=sys.stderr)
            continue
        print(f"{word:{width}}  {', '.join(neighbor for neighbor, _ in neighbors)}")


if __name__ == "__main__":
    main()
