"""`w2v plot`: the loss and the words of a run, the sentences of a config's text; extra `[plot]`."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from w2v.cli.options import ConfigOption, MatrixOption, RunOption, SetOption, VectorsOption
from w2v.errors import ConfigError
from w2v.extras import require_extra

if TYPE_CHECKING:
    from w2v.vectors import WordVectors

log = logging.getLogger(__name__)

PICTURES = (".png", ".svg")
PAGE = ".html"
TOP_OF_PICTURE, TOP_OF_PAGE = 300, 2000  # words that can be told apart; on a page one can zoom

plot_app = typer.Typer(
    help="Draw the loss, the lengths of sentences, or a map of the words.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
ForceOption = Annotated[bool, typer.Option("--force", help="Replace what is there.")]
OutOption = Annotated[
    Path | None, typer.Option("--out", "-o", metavar="OUT", help="A .png or .svg file.")
]


@plot_app.command()
def loss(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[RUN]...", help="Run folders, finished or not."),
    ] = None,
    out: OutOption = None,
    force: ForceOption = False,
    config: ConfigOption = None,
    settings: SetOption = None,
) -> None:
    """Draw the loss and the held-out loss of one or several runs; prints the picture's path.

    Example: w2v plot loss runs/quickstart -o loss.png
    """
    path = _free(out or Path("loss.png"), PICTURES, force=force)
    from w2v.configfile import load_config
    from w2v.metrics import read_curve
    from w2v.rundir import RunDir
    from w2v.runs import find_run

    if runs:
        load_config(config, settings or ())  # a mistake in it is told, though nothing is used
        chosen = [RunDir(run) for run in runs]
    else:
        chosen = [find_run(None, config=config, overrides=settings or ())]
    curves = [
        read_curve(run, name=name)
        for run, name in zip(chosen, _names([run.path for run in chosen]), strict=True)
    ]
    from w2v.canvas import save
    from w2v.plots import loss_figure

    save(loss_figure(curves), path)
    typer.echo(path)


@plot_app.command()
def lengths(
    out: OutOption = None,
    force: ForceOption = False,
    config: ConfigOption = None,
    settings: SetOption = None,
) -> None:
    """Draw how long sentences are, before and after subsampling; prints the picture's path.

    Example: w2v plot lengths --config ptb.yaml -o lengths.png
    """
    path = _free(out or Path("lengths.png"), PICTURES, force=force)
    from w2v.configfile import load_config

    loaded = load_config(config, settings or ())
    log.info("config %s: %s", loaded.path, loaded.chosen)
    from w2v.canvas import save  # torch takes seconds: only once all else is known to be right
    from w2v.cli.progress import download_bar
    from w2v.lengths import sentence_lengths
    from w2v.plots import lengths_figure
    from w2v.sampling import keep_probabilities
    from w2v.sources import data_folder
    from w2v.survey import open_corpus

    with download_bar() as bar:
        corpus = open_corpus(loaded.config, data_folder=data_folder(), download_progress=bar)
    sampling = loaded.config.sampling
    keep_prob_V = keep_probabilities(
        corpus.vocab.known_counts_V,
        threshold=sampling.subsample,
        formula=sampling.subsample_formula,
    )
    drawn = sentence_lengths(corpus.train, keep_prob_V, seed=loaded.config.train.seed)
    save(lengths_figure(drawn, name=loaded.config.corpus.name), path)
    typer.echo(path)


@plot_app.command("map")
def word_map(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[WORD]...", help="Words to show, with their neighbors."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="OUT", help="A .png or .svg file, or a .html page."),
    ] = None,
    top: Annotated[
        int | None,
        typer.Option(
            "--top",
            min=0,
            metavar="N",
            help="The N commonest words, also beside named ones; by default "
            f"{TOP_OF_PICTURE}, {TOP_OF_PAGE} on a page, none where words are named.",
        ),
    ] = None,
    method: Annotated[
        Literal["pca", "tsne"] | None,
        typer.Option("--method", help="By default tsne, where scikit-learn is installed."),
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, metavar="K", help="Neighbors of a word.")] = 10,
    run: RunOption = None,
    vectors: VectorsOption = None,
    matrix: MatrixOption = "center",
    force: ForceOption = False,
    config: ConfigOption = None,
    settings: SetOption = None,
) -> None:
    """Draw the commonest words, or named ones and their neighbors; prints the file's path.

    Example: w2v plot map -o map.html
    """
    path = _free(out or Path("map.png"), (*PICTURES, PAGE), force=force)
    is_page = path.suffix.lower() == PAGE
    require_extra("plot", *(["bokeh"] if is_page else []), *(["sklearn"] * (method == "tsne")))
    from w2v.wordmap import make_map

    if top is None:
        top = 0 if words else TOP_OF_PAGE if is_page else TOP_OF_PICTURE
    name, table = _load(run, vectors=vectors, config=config, settings=settings, table=matrix)
    drawn = make_map(table, words or (), name=name, top=top, k=k, method=method)
    log.info("%d words by %s: %s", len(drawn.words), *drawn.projection[1::2])
    if is_page:
        from w2v.files import write_text
        from w2v.map_page import page

        write_text(path.resolve(), page(drawn))
    else:
        from w2v.canvas import save
        from w2v.plots import map_figure

        save(map_figure(drawn), path)
    typer.echo(path)


def _free(path: Path, suffixes: Sequence[str], *, force: bool) -> Path:
    """The place of a picture, once it is known that it can be drawn and written there."""
    from w2v.preflight import require_free, require_writable

    if path.suffix.lower() not in suffixes:
        raise ConfigError(f"{str(path)!r} is no {' or '.join(suffixes)} file", hint="-o OUT.png")
    if path.suffix.lower() != PAGE:
        require_extra("plot", "matplotlib")
        logging.getLogger("matplotlib").setLevel(logging.WARNING)  # it tells of its font cache
    require_free(path, force=force)
    require_writable(path.parent)
    return path


def _names(paths: Sequence[Path]) -> list[str]:
    """What runs are called: by their folders, with the way there where two are called the same."""
    names = [path.resolve().name for path in paths]
    return names if len(set(names)) == len(names) else [str(path) for path in paths]


def _load(
    run: Path | None,
    *,
    vectors: Path | None,
    config: str | None,
    settings: Sequence[str] | None,
    table: Literal["center", "context", "sum"],
) -> "tuple[str, WordVectors]":
    """The vectors that are asked for, and what they are called."""
    from w2v.runs import find_run, load_chosen

    if vectors is not None:
        chosen = load_chosen(
            run, vectors=vectors, config=config, overrides=settings or (), table=table
        )
        return vectors.name, chosen
    found = find_run(run, config=config, overrides=settings or ())
    return found.path.resolve().name, found.load_vectors(table=table)
