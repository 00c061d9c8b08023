"""Speed, memory and quality of training, measured as a user would see them.

    make bench [CORPUS=FILE]
    python scripts/bench.py [CONFIG ...] [--reference]
    python scripts/bench.py --corpus FILE [CONFIG] [--peer NAME=COMMAND] [--no-gensim]
    python scripts/bench.py --corpus FILE [CONFIG] --scaling [--peer NAME=COMMAND] [--no-gensim]

and with each `[--seeds 3] [-s KEY=VALUE] [--json FILE] [--eval-data DIR]`. Every training is a
process of its own; programs take turns, seed by seed.

Without `--corpus` each CONFIG (default: ptb-d2l.yaml and ptb.yaml) is trained by `w2v train`.
`--reference` lets `scripts/chapter.py`, the textbook's own loop, take its turn as well.

With `--corpus` the text is cut into tokens once, as CONFIG (default: text.yaml) says, and w2v,
gensim and every `--peer` train on that file with the same settings; nothing is held out, and the
vocabulary is counted anew each time. `bench_programs.py` says how a peer's command is written. A
short training that is not counted goes before, since compiled kernels are compiled but once.

With `--scaling` the rate of w2v is measured over threads, dimensions and the size of the text, that
of the peers over threads.

`bench_measure.py` defines the values, `bench_table.py` how they are shown. Run it on a quiet
machine.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from bench_measure import Run, ask, machine, score, take_turns, train
from bench_programs import (
    OURS,
    PEER_LR,
    Program,
    chapter_program,
    gensim_program,
    peer_program,
    peer_values,
    read_template,
    require_comparable,
    w2v_program,
)
from bench_scaling import SHARES, Point, all_series, scaling_columns
from bench_table import column, ratio_columns, ratios_to, table
from bench_text import Text, write_head, write_tokens

import w2v
from w2v.configfile import load_config
from w2v.cores import usable_cores
from w2v.errors import ConfigError, W2VError
from w2v.files import write_text
from w2v.preflight import require_writable

CONFIGS = ["ptb-d2l.yaml", "ptb.yaml"]
TEXT_CONFIG = "text.yaml"
WARM_UP_LINES = 1000
WARM_UP = ["vocab.min_count=1", "train.epochs=1"]
AS_IT_IS = ["corpus.lowercase=false", "corpus.token_pattern=null"]  # the text is cut already

Report = dict[str, Any]  # what is saved as JSON


class Comparison(NamedTuple):
    """What programs share when they train on one text."""

    source: str  # the text as it was named
    config: str
    settings: list[str]  # of w2v
    values: dict[str, object]  # of its peers
    text: Text

    def ours(self, *, name: str = OURS, settings: Sequence[str] = ()) -> Program:
        """w2v, with further settings."""
        return w2v_program(self.config, [*self.settings, *settings], name=name)

    @property
    def words(self) -> int:
        """Raw words times epochs."""
        return self.text.raw_words * int(str(self.values["epochs"]))


def measure_configs(args: argparse.Namespace) -> Report:
    """Measures the shipped configs, each on its own text."""
    programs = [w2v_program(config, args.settings) for config in args.configs or CONFIGS]
    references = [chapter_program()] if args.reference else []

    def measure(program: Program, folder: Path, seed: int) -> Run:
        run = train(program, folder, seed=seed, words=0, own_data=False)
        vectors = w2v.load(folder / program.vectors)
        asked = ask(vectors, folder / program.vectors, args.word)
        return run | score(vectors, args.eval_data) | asked

    runs_of = take_turns([*programs, *references], seeds=args.seeds, measure=measure)
    return report(runs_of, ours=programs, peers=references)


def compare(args: argparse.Namespace, folder: Path) -> Report:
    """Measures w2v and its peers on one text."""
    shared = prepare(args, folder)
    facts = describe(shared)
    ours, peers = [shared.ours()], peer_programs(args, shared.values)

    def measure(program: Program, folder: Path, seed: int) -> Run:
        run = train(program, folder, seed=seed, words=shared.words, own_data=True)
        return run | score(w2v.load(folder / program.vectors), args.eval_data)

    runs_of = take_turns([*ours, *peers], seeds=args.seeds, measure=measure)
    return facts | report(runs_of, ours=ours, peers=peers)


def scale(args: argparse.Namespace, folder: Path) -> Report:
    """Measures rates over threads, dimensions and the size of the text."""
    shared = prepare(args, folder)
    facts = describe(shared)
    head = write_head(shared.text, folder / "head.txt", lines=round(SHARES[0] * shared.text.lines))
    base = Point(OURS, int(str(shared.values["threads"])), int(str(shared.values["dim"])), 1.0)
    names = [program.name for program in peer_programs(args, shared.values)]
    series = all_series(base, cores=usable_cores(), peers=names)

    def program_at(point: Point) -> Program:
        if point.program == OURS:
            settings = [f"train.threads={point.threads}", f"model.dim={point.dim}"]
            settings += [f"corpus.path={head.path}"] if point.share < 1 else []
            return shared.ours(name=str(point), settings=settings)
        programs = peer_programs(args, shared.values | {"threads": point.threads})
        chosen = next(program for program in programs if program.name == point.program)
        return chosen._replace(name=str(point))

    def measure(program: Program, folder: Path, seed: int) -> Run:
        return train(program, folder, seed=seed, words=shared.words, own_data=True)

    programs = [program_at(point) for point in dict.fromkeys(chain(*series.values()))]
    runs_of = take_turns(programs, seeds=args.seeds, measure=measure)
    print(f"\n{table(scaling_columns(series, runs_of))}")
    places = {name: [str(point) for point in points] for name, points in series.items()}
    return facts | {"series": places, "runs": [*chain(*runs_of.values())]}


def prepare(args: argparse.Namespace, folder: Path) -> Comparison:
    """Writes the text that all read, and settles what they are told.

    Raises:
        W2VError: the config, the text or the settings cannot be used.
    """
    name = args.configs[0] if args.configs else TEXT_CONFIG
    whole = {"corpus.name": "text", "corpus.path": args.corpus}
    overrides = [*args.settings, "corpus.heldout_every=null"]
    config = load_config(name, overrides, flags=whole).config
    require_comparable(config)
    text = write_tokens(config.corpus, folder / "text.txt")
    values = peer_values(config, corpus=text.path, lr=args.peer_lr)
    peer_programs(args, values)  # whatever is wrong with them is known before anything is trained
    path = ["corpus.name=text", f"corpus.path={text.path}", f"train.threads={values['threads']}"]
    settings = list(dict.fromkeys([*overrides, *AS_IT_IS, *path]))
    shared = Comparison(args.corpus, name, settings, values, text)
    warm_up(shared, folder)
    return shared


def warm_up(shared: Comparison, folder: Path) -> None:
    """Trains once on very little, for kernels that are compiled when they are first used."""
    head = write_head(shared.text, folder / "warm_up.txt", lines=WARM_UP_LINES)
    program = shared.ours(settings=[*WARM_UP, f"corpus.path={head.path}"])
    train(program, folder / "warm_up", seed=0, words=0, own_data=True)


def peer_programs(args: argparse.Namespace, values: Mapping[str, object]) -> list[Program]:
    """The programs beside w2v."""
    gensim = [] if args.no_gensim else [gensim_program(values)]
    return gensim + [peer_program(template, values) for template in args.peers]


def describe(shared: Comparison) -> Report:
    """Prints and returns what was trained on, and how."""
    text = shared.text._asdict() | {"path": shared.source}
    told = {name: value for name, value in shared.values.items() if name != "corpus"}
    print(f"text: {list_pairs(text)}\nw2v: {' '.join([shared.config, *shared.settings])}")
    print(f"peers: {list_pairs(told)}")
    return {"text": text, "config": shared.config, "set": shared.settings, "peers": told}


def list_pairs(values: Mapping[str, object]) -> str:
    """Names and values on one line."""
    return ", ".join(f"{name} {value}" for name, value in values.items())


def report(
    runs_of: dict[str, list[Run]], *, ours: Sequence[Program], peers: Sequence[Program]
) -> Report:
    """Prints the tables of runs and ratios, and returns both."""
    print(f"\n{table({name: column(runs) for name, runs in runs_of.items()})}")
    theirs = {peer.name: runs_of[peer.name] for peer in peers}
    ratios_of = {program.name: ratios_to(theirs, runs_of[program.name]) for program in ours}
    if theirs:
        print(f"\n{table(ratio_columns(ratios_of))}")
    return {"runs": [*chain(*runs_of.values())], "ratios": ratios_of}


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    test_data = os.environ.get("W2V_TEST_DATA")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("configs", nargs="*", metavar="CONFIG", help=f"default: {' '.join(CONFIGS)}")
    add("--seeds", type=int, default=3, help="how often each is trained")
    add("--reference", action="store_true", help="measure the textbook's loop too")
    add("--word", default="chip", help="whose neighbors to show")
    add("--corpus", metavar="FILE", help="compare with peers on this text; may be compressed")
    add("--peer", dest="peers", action="append", default=[], metavar="NAME=COMMAND")
    add("--no-gensim", action="store_true", help="leave gensim out")
    add("--peer-lr", type=float, help=f"of the peers; default: w2v's if plain SGD, else {PEER_LR}")
    add("--scaling", action="store_true", help="rates over threads, dimensions, size of the text")
    add("--json", type=Path, metavar="FILE", help="write every run's figures there")
    add("-s", "--set", dest="settings", action="append", default=[], metavar="KEY=VALUE")
    add(
        "--eval-data",
        type=Path,
        metavar="DIR",
        default=Path(test_data, "eval") if test_data else None,
        help="a folder with ws353.tsv, simlex999.tsv, men.tsv, questions-words.txt; "
        "default: $W2V_TEST_DATA/eval",
    )
    return parser.parse_args(argv)


def check(args: argparse.Namespace) -> None:
    """Refuses what does not go together, and reads the templates. Raises `W2VError`."""
    if args.seeds < 1:
        raise ConfigError(f"--seeds {args.seeds}: expected 1 or more")
    if args.corpus and (args.reference or len(args.configs) > 1):
        raise ConfigError("--corpus goes with one CONFIG, and without --reference")
    if not args.corpus and (args.peers or args.scaling or args.no_gensim or args.peer_lr):
        raise ConfigError("--peer, --peer-lr, --no-gensim and --scaling need --corpus FILE")
    args.peers = [read_template(peer) for peer in args.peers]
    names = [template.name for template in args.peers]
    if len(set(names)) < len(names):
        raise ConfigError(f"--peer: a name is given twice: {', '.join(names)}")
    if args.json:
        require_writable(args.json.parent)


def run(args: argparse.Namespace) -> None:
    """Measures, prints and saves. Raises `W2VError`."""
    check(args)
    facts = machine()
    print(list_pairs(facts))
    with tempfile.TemporaryDirectory(prefix="w2v-bench-") as folder:
        if not args.corpus:
            found = measure_configs(args)
        else:
            found = (scale if args.scaling else compare)(args, Path(folder))
    if args.json:
        write_text(args.json, json.dumps({"machine": facts, **found}, indent=2) + "\n")


def main(argv: Sequence[str] | None = None) -> None:
    """Runs, and turns what a user can mend into one line and an exit code."""
    try:
        run(parse_arguments(argv))
    except W2VError as error:
        print(f"bench: error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
