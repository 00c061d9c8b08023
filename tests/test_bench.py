"""The benchmark: its templates, its ratios and tables, and one tiny comparison from end to end."""

import gzip
import json
import sys
from pathlib import Path

import pytest
from conftest import planted_text

import w2v
from w2v.config import Config, CorpusSection, SamplingSection, TrainSection, VocabSection
from w2v.errors import ConfigError, DataError, W2VError

sys.path.append(str(Path(__file__).parent.parent / "scripts"))
import bench
from bench_measure import SIMILARITY_FILES, score, spend, take_turns, train
from bench_programs import (
    Program,
    gensim_program,
    peer_program,
    peer_values,
    read_template,
    require_comparable,
    w2v_program,
)
from bench_scaling import Point, all_series, scaling_columns, thread_counts
from bench_table import column, mean, ratio_columns, ratios_to, spread, table
from bench_text import write_head, write_tokens

PYTHON = sys.executable
TINY = ("vocab.min_count=1", "model.dim=8", "train.epochs=1", "train.threads=1")


def runs(**values):
    """A run a turn; each value is given turn by turn."""
    turns = zip(*values.values(), strict=True)
    return [
        {"seed": seed, **dict(zip(values, turn, strict=True))} for seed, turn in enumerate(turns)
    ]


def test_a_template_is_cut_and_filled_without_a_shell():
    template = read_template(
        f"fast-1.0={PYTHON} 'two words' {{corpus}} -o={{out}};ls $HOME {{{{}}}}"
    )
    values = {"corpus": Path("/a b/text"), "out": "vectors", "seed": 3}
    assert template.name == "fast-1.0"
    filled = [PYTHON, "two words", "/a b/text", "-o=vectors;ls", "$HOME", "{}"]
    assert template.fill(values) == filled


@pytest.mark.parametrize(
    ("peer", "told"),
    [
        ("word2vec", "expected NAME=COMMAND"),
        ("=echo {corpus} {out}", "expected NAME=COMMAND"),
        ("a b=echo {corpus} {out}", "expected NAME=COMMAND"),
        ("gensim=echo {corpus} {out}", "NAME neither w2v nor gensim"),
        ("x=  ", "expected NAME=COMMAND"),
        ("x=echo '{corpus} {out}", "No closing quotation"),
        ("x=echo {corpus {out}", "x: "),
        ("x=echo {corpus} {out} {size}", "found {size}, expected {corpus} {threads} {dim}"),
        ("x=echo {corpus.parent} {out}", "found {corpus.parent}"),
        ("x=echo {corpus} {out} {}", "found {}"),
        ("x=echo {corpus} {out} {lr:.3f}", "found a format"),
        ("x=echo {corpus!r} {out}", "found a format"),
        ("x=echo {corpus}", "does not mention {out}"),
        ("x=echo {out}", "does not mention {corpus}"),
        ("x=./no-such-program {corpus} {out}", "no program './no-such-program'"),
    ],
)
def test_a_bad_template_is_one_line_and_exit_2(peer, told, capsys, tiny_text):
    with pytest.raises(SystemExit) as exit_:
        bench.main(["--corpus", str(tiny_text), "--peer", peer])
    err = capsys.readouterr().err
    assert exit_.value.code == 2
    assert err.startswith("bench: error: --peer ")
    assert err.count("\n") == 1
    assert told in err


@pytest.mark.parametrize(
    "options",
    [
        ["--scaling"],
        ["--peer", "x=echo {corpus} {out}"],
        ["--corpus", "FILE", "--reference"],
        ["--corpus", "FILE", "text.yaml", "ptb.yaml"],
        ["--corpus", "FILE", *("--peer", "x=echo {corpus} {out}") * 2],
        ["--seeds", "0"],
        ["--corpus", "FILE", "-s", "sampling.subsample_formula=paper"],
        ["--corpus", "FILE", "-s", "model.dim=none"],
    ],
)
def test_what_does_not_go_together_is_exit_2(options, capsys, tiny_text):
    with pytest.raises(SystemExit) as exit_:
        bench.main([option.replace("FILE", str(tiny_text)) for option in options])
    assert exit_.value.code == 2
    assert capsys.readouterr().err.startswith("bench: error: ")


def test_peers_are_told_what_the_config_says():
    plain = TrainSection(
        optimizer="sgd", objective="pair_sum", lr=0.05, lr_schedule="linear", threads=3, epochs=4
    )
    sampling = SamplingSection(window=7, negatives=9, subsample=None)
    config = Config(train=plain, sampling=sampling, vocab=VocabSection(min_count=2))
    values = peer_values(config, corpus=Path("text"))
    told = {"threads": 3, "dim": 100, "window": 7, "negatives": 9, "noise_power": 0.75}
    told |= {"subsample": 0, "min_count": 2, "epochs": 4, "lr": 0.05}
    assert values == {"corpus": Path("text"), **told, "min_lr": pytest.approx(5e-6)}
    assert peer_values(config, corpus=Path("text"), lr=0.1)["min_lr"] == pytest.approx(1e-5)


def test_peers_have_their_own_learning_rate_where_the_optimizer_is_another():
    values = peer_values(Config(train=TrainSection(optimizer="adagrad", lr=0.1)), corpus=Path())
    assert (values["lr"], values["min_lr"]) == (0.025, pytest.approx(2.5e-6))


def test_settings_that_peers_lack_are_refused():
    formula = {"subsample_formula": "word2vec"}
    require_comparable(Config(sampling=SamplingSection(**formula)))
    require_comparable(Config(sampling=SamplingSection(subsample=None)))
    with pytest.raises(ConfigError, match="subsample_formula=word2vec"):
        require_comparable(Config())
    limited = Config(sampling=SamplingSection(**formula), vocab=VocabSection(max_size=5))
    with pytest.raises(ConfigError, match=r"vocab\.max_size=null"):
        require_comparable(limited)


def test_ratios_pair_the_runs_of_one_seed():
    ours = runs(words_per_s=[200, 900, 400], wall_s=[1.0, 2.0, 3.0], peak_mb=[50, 50, 50])
    theirs = runs(words_per_s=[100, 300, 100], wall_s=[2.0, 2.0, 2.0], peak_mb=[25, 50, 100])
    found = ratios_to({"peer": theirs[::-1]}, ours)
    assert found == {
        "peer": {"words_per_s": [2, 3, 4], "wall_s": [0.5, 1, 1.5], "peak_mb": [2, 1, 0.5]}
    }
    cells = ratio_columns({"w2v": found})["w2v / peer"]
    assert cells["raw words/s"] == "3.00 (2.00 .. 4.00)"
    assert "centers/s" not in cells


def test_spread_and_mean_by_hand():
    assert spread([3.0]) == "3.00"
    assert spread([1000, 250, 4000.4]) == "1,000 (250 .. 4,000)"
    assert spread([1000, 2.5]) == "501.25 (2.50 .. 1,000.00)"
    assert mean([0.5]) == "0.5000"
    assert mean([0.1, 0.2, 0.3]) == "0.2000 ± 0.1000"


def test_a_table_by_hand():
    fast = runs(kernel=["bmm"] * 2, device=["cpu"] * 2, train_s=[1.0, 3.0], loss=[[0.5], [0.7]])
    fast = [run | {"heldout_loss": [None], "MEN": 0.25, "MEN of": "9 of 10"} for run in fast]
    slow = runs(train_s=[4.0], wall_s=[4.0], train_is_wall=[True])
    columns = {"fast": column(fast), "slow": column(slow)}
    assert table(columns).splitlines() == [
        "|            | fast                     | slow                    |",
        "| ---------- | ------------------------ | ----------------------- |",
        "| kernel     | bmm on cpu               | -                       |",
        "| training s | 2.00 (1.00 .. 3.00)      | 4.00, the whole command |",
        "| loss 1     | 0.6000 ± 0.1414          | -                       |",
        "| MEN        | 0.2500 ± 0.0000, 9 of 10 | -                       |",
        "| wall s     | -                        | 4.00                    |",
    ]


def test_thread_counts_are_powers_of_two_and_all():
    assert [thread_counts(cores) for cores in (1, 2, 6)] == [[1], [1, 2], [1, 2, 4, 6]]


def test_series_share_their_points():
    base = Point("w2v", threads=2, dim=100, share=1.0)
    series = all_series(base, cores=2, peers=["gensim"])
    assert list(series) == ["threads", "threads, gensim", "dim", "text"]
    assert sum(base in points for points in series.values()) == 3
    assert series["threads, gensim"] == [Point("gensim", n, 100, 1.0) for n in (1, 2)]
    assert [point.dim for point in series["dim"]] == [50, 100, 200, 300]
    assert [point.share for point in series["text"]] == [0.1, 1.0]


def test_scaling_is_relative_to_the_smallest():
    base = Point("w2v", threads=1, dim=100, share=1.0)
    points = [base, base._replace(threads=2)]
    rates = [[100, 200], [150, 400]]
    runs_of = {
        str(point): runs(words_per_s=rate, peak_mb=[7, 7])
        for point, rate in zip(points, rates, strict=True)
    }
    columns = scaling_columns({"threads": points}, runs_of)
    assert columns["raw words/s, ratio"] == {
        "threads 1": "1.00 (1.00 .. 1.00)",
        "threads 2": "1.75 (1.50 .. 2.00)",
    }
    assert columns["peak MB"]["threads 2"] == "7.00 (7.00 .. 7.00)"
    assert "centers/s" not in columns


def test_the_text_is_cut_as_the_config_says(tmp_path):
    path = tmp_path / "raw.txt.gz"
    path.write_bytes(gzip.compress("One  TWO,\tthree\n\n \n\u00a0four\u2003five \nsix".encode()))
    section = CorpusSection(name="text", path=str(path), lowercase=True)
    text = write_tokens(section, tmp_path / "text.txt")
    assert text.path.read_text() == "one two, three\n\n\nfour five\nsix\n"
    assert text[1:] == (5, 6, 3)
    head = write_head(text, tmp_path / "head.txt", lines=4)
    assert head.path.read_text() == "one two, three\n\n\nfour five\n"
    assert head[1:] == (4, 5, 3)
    words = section.model_copy(update={"token_pattern": "[a-z]+"})
    assert write_tokens(words, text.path).path.read_text().startswith("one two three\n\n\nfour")


def test_a_text_that_cannot_be_cut_is_refused(tmp_path):
    section = CorpusSection(name="text", path=str(tmp_path / "none.txt"))
    with pytest.raises(DataError):
        write_tokens(section, tmp_path / "text.txt")
    with pytest.raises(ConfigError, match="token_pattern"):
        write_tokens(section.model_copy(update={"token_pattern": "(?=a)a"}), tmp_path / "text.txt")


def test_peak_memory_is_the_commands_own():
    ballast = bytearray(100 * 2**20)  # which the command must not be charged with
    idle = spend([PYTHON, "-c", "pass"])
    busy = spend([PYTHON, "-c", "b'x' * (80 * 2**20)"])
    assert idle["peak_mb"] < 80 < len(ballast) / 2**20
    assert 70 < busy["peak_mb"] - idle["peak_mb"] < 90


def test_a_command_that_fails_says_what_it_wrote():
    with pytest.raises(W2VError, match=r"(?s)exit code 3: .*\nwhat it wrote"):
        spend([PYTHON, "-c", "print('what it wrote'); raise SystemExit(3)"])


def test_every_second_turn_is_reversed(tmp_path):
    taken = []

    def measure(program, folder, seed):
        assert not list(folder.iterdir())
        (folder / "left").touch()
        taken.append(f"{program.name}{seed}")
        return {"wall_s": 1, "words_per_s": 1}

    programs = [Program(name, lambda folder, seed: []) for name in "ab"]
    runs_of = take_turns(programs, seeds=3, measure=measure)
    assert taken == ["a0", "b0", "b1", "a1", "a2", "b2"]
    assert {name: len(found) for name, found in runs_of.items()} == {"a": 3, "b": 3}


def test_a_peer_that_writes_nothing_is_an_error(tmp_path):
    program = peer_program(read_template("x=echo {corpus} {out}"), {"corpus": "text"})
    with pytest.raises(W2VError, match="x ended well, but wrote no"):
        train(program, tmp_path, seed=0, words=1, own_data=True)


def test_the_command_of_w2v(tmp_path):
    command = w2v_program("ptb.yaml", ["model.dim=3"]).command(tmp_path, 7)
    assert command[1:6] == ["-m", "w2v", "train", "-c", "ptb.yaml"]
    assert command[-2:] == ["--set=model.dim=3", "--set=train.seed=7"]


def test_gensim_trains_at_the_same_settings(tmp_path):
    corpus = tmp_path / "text.txt"
    corpus.write_text(planted_text(lines=200, seed=1))  # 9 words each, of 18
    train_section = TrainSection(epochs=2, threads=1)
    sampling = SamplingSection(subsample=None)
    config = Config(train=train_section, sampling=sampling, vocab=VocabSection(min_count=1))
    program = gensim_program(peer_values(config, corpus=corpus))
    run = train(program, tmp_path / "training", seed=0, words=0, own_data=True)
    assert run["kernel"].startswith("gensim ")
    assert run["words_per_s"] * run["train_s"] == pytest.approx(2 * 200 * 9)
    assert run["centers_per_s"] * run["train_s"] == pytest.approx(2 * 200 * 9)
    assert 0 < run["train_s"] + run["prepare_s"] < run["wall_s"]
    vectors = w2v.load(tmp_path / "training" / program.vectors)
    assert vectors.matrix.shape == (18, 100)


def test_scores_without_words_in_common_are_left_out(tmp_path):
    (tmp_path / SIMILARITY_FILES["MEN"]).write_text("here\tnowhere\t5\n")
    vec = tmp_path / "tiny.vec"
    vec.write_text("2 2\nred 1 0\nblue 1 1\n")
    assert score(w2v.load(vec), tmp_path) == {}
    assert score(w2v.load(vec), None) == {}


@pytest.mark.slow
def test_a_comparison_from_end_to_end(tmp_path, tiny_text, capsys):
    (tmp_path / "eval").mkdir()
    pairs = "apple0\tapple1\t9\napple0\tmetal1\t2\nriver0\tmetal3\t1\n"
    (tmp_path / "eval" / SIMILARITY_FILES["MEN"]).write_text(pairs)
    (tmp_path / "given.vec").write_text("3 2\napple0 1 0\napple1 1 1\nmetal1 0 1\n")
    (tmp_path / "copy.py").write_text("import shutil, sys\nshutil.copy(*sys.argv[1:3])\n")
    words = [PYTHON, tmp_path / "copy.py", tmp_path / "given.vec", "{out}", "{corpus}", "{seed}"]
    options = ["--seeds", "1", "--json", str(tmp_path / "bench.json")]
    options += ["--eval-data", str(tmp_path / "eval"), *(f"-s{setting}" for setting in TINY)]
    bench.main(
        ["--corpus", str(tiny_text), "--peer", f"copy={' '.join(map(str, words))}", *options]
    )
    out = capsys.readouterr().out
    assert all(title in out for title in ("| gensim ", "| copy ", "w2v / gensim", "w2v / copy"))
    report = json.loads((tmp_path / "bench.json").read_text())
    assert report.keys() == {"machine", "text", "config", "set", "peers", "runs", "ratios"}
    assert report["machine"].keys() >= {"date", "cpu", "cores", "w2v", "numpy", "torch", "gensim"}
    assert report["text"] == {
        "path": str(tiny_text),
        "lines": 300,
        "raw_words": 2700,
        "longest_line": 9,
    }
    assert [run["program"] for run in report["runs"]] == ["w2v", "gensim", "copy"]
    ours, gensim, copy = report["runs"]
    rates = {"words_per_s", "centers_per_s", "train_s", "prepare_s", "wall_s", "peak_mb", "MEN"}
    assert rates <= ours.keys() & gensim.keys()
    assert copy["words_per_s"] == pytest.approx(2700 / copy["wall_s"])
    assert report["ratios"]["w2v"]["gensim"].keys() == rates & {
        "words_per_s",
        "centers_per_s",
        "wall_s",
        "peak_mb",
    }
    assert report["ratios"]["w2v"]["copy"].keys() == {"words_per_s", "wall_s", "peak_mb"}
