"""The figures of `corpus stats` and `train --dry-run`: by hand, and the same from both."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from w2v import stats
from w2v.configfile import load_config
from w2v.stats import describe, kept_by, text_figures, zipf_exponent
from w2v.survey import survey

FIGURES = Path(__file__).parent.parent / "docs" / "figures.md"
SPECTRUM = np.array([[1, 4], [2, 3], [10, 1]])  # 4 words once, 3 twice, one ten times: 20 in all


def documented(heading):
    """The names in the first column of the table below a heading of docs/figures.md."""
    _, _, section = FIGURES.read_text().partition(f"\n## {heading}\n")
    return re.findall(r"^\| `([a-z0-9_]+)`", section.partition("\n## ")[0], re.MULTILINE)


@pytest.fixture
def surveyed(tmp_path, monkeypatch):
    def make(text, *settings):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "text.txt").write_text(text)
        (tmp_path / "empty.yaml").write_text("corpus: {name: text, path: text.txt}\n")
        config = load_config("empty.yaml", settings).config
        return survey(config, data_folder=tmp_path / "data"), config

    return make


@pytest.mark.parametrize(
    ("min_count", "types", "share"), [(1, 8, 1.0), (2, 4, 0.8), (3, 1, 0.5), (11, 0, 0.0)]
)
def test_what_a_min_count_keeps(min_count, types, share):
    found = kept_by(SPECTRUM, min_count, raw_words=20)
    assert found == {"min_count": min_count, "types": types, "share": share}


def test_the_exponent_of_a_power_law_is_found():
    counts = (1e9 / np.arange(1, 3001) ** 1.1).astype(np.int64)
    assert zipf_exponent(counts) == pytest.approx(1.1, abs=1e-3)
    assert zipf_exponent(np.full(5, 7)) == 0.0
    assert zipf_exponent(np.array([3])) is None


def test_the_figures_of_a_text_by_hand(surveyed):
    found, _ = surveyed("the cat the dog\n\nthe <unk> ox\nthe cat\n", "vocab.min_count=2")
    assert text_figures(found.corpus, min_count=2) == {
        "raw_words": 9,  # <unk> stands for a word, though for none that is known
        "types": 4,
        "sentences": 4,
        "vocab_size": 3,
        "words": 6,
        "words_share": 0.666667,
        "heldout_words": 0,
        "min_counts": [
            {"min_count": 1, "types": 4, "share": 0.888889},
            {"min_count": 2, "types": 2, "share": 0.666667},
            *({"min_count": least, "types": 0, "share": 0.0} for least in (5, 10, 20, 50, 100)),
        ],
        "commonest": [
            {"word": "the", "count": 4, "share": 0.444444},
            {"word": "cat", "count": 2, "share": 0.222222},
        ],
        "zipf_exponent": 1.0,
    }


def test_a_min_count_of_ones_own_is_told_too(surveyed):
    found, _ = surveyed("a b a b a\n", "vocab.min_count=3")
    assert {"min_count": 3, "types": 1, "share": 0.6} in text_figures(found.corpus, min_count=3)[
        "min_counts"
    ]


def test_an_epoch_and_its_bytes_by_hand(surveyed):
    found, config = surveyed(
        "a b c\n" * 10, "sampling.subsample=null", "sampling.window=2", "vocab.min_count=1",
        "model.dim=3", "train.kernel=bmm",
    )  # fmt: skip
    about = describe(found, config, timed=False)
    assert (about["words_per_epoch"], about["centers_per_epoch"]) == (30, 30)
    assert about["pairs_per_epoch"] == 50  # a sentence has 4 of neighbors, 2 of ends half the time
    assert about["table_bytes"] == 2 * 4 * 3 * 4
    assert about["optimizer_bytes"] == 3 * about["table_bytes"]
    assert about["corpus_bytes"] == 30 * 4 + 11 * 8 + 8
    assert about["estimated_train_s"] is None


def test_a_time_is_estimated_unless_the_tables_are_too_large(surveyed, monkeypatch):
    found, config = surveyed("a b c\n" * 100, "vocab.min_count=1", "model.dim=3")
    monkeypatch.setattr(stats, "words_per_s", lambda *_, **__: 300 * 5 / 123.4)
    assert describe(found, config)["estimated_train_s"] == 120
    monkeypatch.setattr(stats, "MOST_TIMED_BYTES", found.needs.table_bytes)
    assert describe(found, config)["estimated_train_s"] is None


# --- the commands -----------------------------------------------------------------------------


@pytest.fixture
def told(cli, tiny_options):
    """Runs a command on the planted corpus; its lines, by the first column."""

    def run(*arguments):
        outcome = cli(*arguments, *tiny_options)
        assert outcome.code == 0, outcome.err
        rows = [line.split("\t") for line in outcome.out.splitlines()]
        return {name: [row[1:] for row in rows if row[0] == name] for name, *_ in rows}

    return run


def test_a_dry_run_and_corpus_stats_tell_the_same(told, tmp_path):
    dry, stats = told("train", "--dry-run", "--run", "run"), told("corpus", "stats")
    (took,), (dry_took,) = stats.pop("estimated_train_s"), dry.pop("estimated_train_s")
    assert dry == stats
    assert float(took[0]) > 0
    assert float(dry_took[0]) > 0
    assert stats["raw_words"] == [["2673"]]
    assert stats["min_counts"][0] == ["1", "18", "1.0"]
    assert not (tmp_path / "run").exists()


def test_json_has_the_names_that_are_documented(cli, tiny_options):
    outcome = cli("corpus", "stats", "--json", "--no-time", *tiny_options)
    about = json.loads(outcome.out)
    assert list(about) == documented("`w2v corpus stats` and `w2v train --dry-run`")
    assert about["estimated_train_s"] is None
    assert about["commonest"][0].keys() == {"word", "count", "share"}


def test_words_are_printed_in_any_encoding(cli, tmp_path, monkeypatch):
    (tmp_path / "text.txt").write_text("caf\u00e9 \x1b[31mred\n" * 9)
    options = ["-s", "corpus.name=text", "-s", "corpus.path=text.txt", "-s", "vocab.min_count=1"]
    outcome = cli("corpus", "stats", "--no-time", *options)
    assert "commonest\tcaf\u00e9\t9\t0.5" in outcome.out
    assert "\\x1b[31mred" in outcome.out


@pytest.mark.parametrize(
    ("settings", "code", "message"),
    [
        (["corpus.name=text"], 2, "corpus.path"),
        (["corpus.name=text", "corpus.path=none.txt"], 4, "none.txt"),
        (["corpus.name=text", "corpus.path=."], 4, "no text in ."),
        (["vocab.min_count=0"], 2, "vocab.min_count"),
    ],
)
def test_what_cannot_be_counted(cli, settings, code, message):
    outcome = cli("corpus", "stats", *(f"--set={setting}" for setting in settings))
    assert (outcome.code, outcome.out) == (code, "")
    assert message in outcome.err
