"""The benchmark of scale: its texts, turns and tables, and one tiny measurement of each kind."""

import gzip
import sys
from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from conftest import planted_text

from w2v.errors import DataError

sys.path.append(str(Path(__file__).parent.parent / "scripts"))
import bench_scale
import scale_text
from bench_programs import Program
from bench_rows import read_rows
from bench_scale import MEMORY_COLUMNS, RANK_COLUMNS, kept
from scale_tables import change, mean_runs, memory_columns, rank_columns
from scale_text import MARKS, MarkedText, drawn_names, make_text, mark_rare, names_due

TINY = ("vocab.min_count=1", "model.dim=8", "sampling.subsample=null")


def zipf_text(*, lines, seed):
    """A text whose words are as rare as real ones: many of them stand there once."""
    rng = np.random.default_rng(seed)
    return "".join(
        " ".join(f"w{number}" for number in rng.zipf(1.4, 12) % 10**6) + "\n" for _ in range(lines)
    )


@pytest.fixture
def real(tmp_path):
    path = tmp_path / "real.txt"
    path.write_text(zipf_text(lines=400, seed=0))
    return path


def made_from(real, *, times, seed=0):
    """A text of so many times the size, and what was told of it."""
    target = real.with_name(f"made-{times}-{seed}.txt")
    return make_text(real, target, num_bytes=round(times * real.stat().st_size), seed=seed)


# --- texts ------------------------------------------------------------------------------------


def test_the_first_repetition_is_the_text_in_another_order(real):
    made = made_from(real, times=1)
    lines, shuffled = real.read_text().splitlines(), made.path.read_text().splitlines()
    assert shuffled != lines
    assert sorted(shuffled) == sorted(lines)
    assert made[1:] == (real.stat().st_size, 400, 4800, 1, made.growth)


def test_a_part_of_the_text_ends_with_a_line(real):
    made = made_from(real, times=0.3)
    text = made.path.read_text()
    assert text.endswith("\n")
    size = round(0.3 * real.stat().st_size)
    assert size <= len(text) == made.bytes < size + len(max(text.splitlines(), key=len)) + 1
    assert made.words == len(text.split())
    assert made.lines == len(text.splitlines())


def test_frequent_words_are_repeated_and_rare_ones_have_other_names(real):
    made = made_from(real, times=8)
    counts, many = Counter(real.read_text().split()), Counter(made.path.read_text().split())
    frequent = {word for word, count in counts.items() if count >= scale_text.RARE}
    for word in frequent:
        assert many[word] == pytest.approx(8 * counts[word], rel=0.25)
    fresh = many.keys() - counts.keys()
    stems = counts.keys() - frequent
    assert fresh
    assert all(any(word.startswith(stem) for stem in stems) for word in list(fresh)[:50])


def test_words_grow_by_heaps_law(real):
    sizes, types = (2, 4, 8, 16), []
    for times in sizes:
        texts = [made_from(real, times=times, seed=seed).path.read_text() for seed in range(3)]
        types.append(np.mean([len(set(text.split())) for text in texts]))
    growth = mark_rare(real).growth
    assert 0.5 < growth < 0.95
    slope, _ = np.polyfit(np.log(sizes), np.log(types), 1)
    assert slope == pytest.approx(growth, abs=0.05)


def test_names_are_as_many_as_heaps_law_wants():
    text = MarkedText([], growth=0.5, types=100, rare_types=75)
    assert [names_due(text, repetition) for repetition in (1, 4, 9)] == pytest.approx(
        [1, 175 / 75, 275 / 75]  # 100, 200, 300 distinct words, of which 25 keep their names
    )
    repetitions = list(islice(drawn_names(text, np.random.default_rng(0)), 64))
    assert repetitions[0] == (b"",) * len(MARKS)
    for group in range(len(MARKS)):
        numbers = [int(names[group] or 0) for names in repetitions]
        for last in (1, 4, 9, 64):
            assert abs(len(set(numbers[:last])) - names_due(text, last)) < 1
        assert max(numbers) == len(set(numbers)) - 1


def test_old_names_are_taken_in_proportion_to_their_uses():
    rng = np.random.default_rng(0)
    drawn = [scale_text.draw_name([5, 1], 0.4, rng) for _ in range(4000)]
    assert np.mean(drawn) == pytest.approx(0.6 / 5.2, abs=5 * (0.1 / 4000) ** 0.5)


def test_a_seed_decides_the_text(real):
    first, again, other = (
        made_from(real, times=2, seed=seed).path.read_bytes() for seed in (1, 1, 2)
    )
    assert first == again != other


def test_a_compressed_text_in_any_letters_is_read(tmp_path):
    path = tmp_path / "real.txt.gz"
    path.write_bytes(gzip.compress("né  Ünder\t東京 \u00a0new\n\n\nold né\n".encode()))
    made = make_text(path, tmp_path / "made.txt", num_bytes=1)
    assert made.path.read_text() in ("né Ünder 東京 new\n", "old né\n")
    marked = mark_rare(path)
    assert (marked.types, marked.rare_types) == (5, 5)
    assert all(mark not in "né".encode() for mark in MARKS)


def test_a_text_without_words_is_refused(tmp_path):
    (tmp_path / "empty.txt").write_text(" \n\n")
    with pytest.raises(DataError, match="has no words"):
        make_text(tmp_path / "empty.txt", tmp_path / "made.txt", num_bytes=9)
    assert not (tmp_path / "made.txt").exists()


# --- turns and tables -------------------------------------------------------------------------


def test_what_has_a_line_is_not_run_again(tmp_path):
    ran = []

    def measure(program, folder, seed):
        ran.append((program.name, seed))
        return {"words_per_s": 7, "wall_s": 1.5, "WS-353 of": "3 of 4"}

    path, program = tmp_path / "ranks.tsv", Program("a", lambda folder, seed: [])
    for _ in range(2):
        run = kept(measure, path, RANK_COLUMNS, ["x=1"])(program, tmp_path, 3)
    assert ran == [("a", 3)]
    told = {"program": "a", "seed": 3, "settings": "x=1", "words_per_s": 7, "wall_s": 1.5}
    assert {name: run[name] for name in told} == told
    assert run["WS-353 of"] == "3 of 4"
    assert "MEN" not in run
    kept(measure, path, RANK_COLUMNS, ["x=2"])(program, tmp_path, 3)  # other settings
    kept(measure, None, RANK_COLUMNS, ["x=1"])(program, tmp_path, 3)  # nothing is kept
    assert len(ran) == 3
    assert len(read_rows(path)) == 2


def test_sizes_are_rows_with_ratios_to_the_real_text():
    base = {"raw_words": 1e6, "types": 10, "vocab_size": 5, "seed": 0, "build_s": 1.0}
    base |= {"words_per_s": 2e6, "centers_per_s": 1e6, "build_mb": 1, "peak_mb": 2, "whole_mb": 3}
    real, big = base | {"wall_s": 9}, base | {"wall_s": 30, "raw_words": 4e6, "build_s": 8.0}
    columns = memory_columns({"real text": [real], "1 GB": [big | {"words_per_s": 1.9e6}]})
    assert columns["counting, encoding: M words/s"] == {"real text": "1.00", "1 GB": "0.50"}
    assert columns["ratio"]["1 GB"] == "0.50"
    assert columns["its ratio"]["1 GB"] == "0.95"
    assert columns["both in one"]["1 GB"] == "3.00"


def test_layouts_are_rows_with_differences_seed_by_seed():
    def runs(*scores, rate):
        return [
            {"seed": seed, "words_per_s": rate, "peak_mb": 1, "MEN": score, "program": "x"}
            for seed, score in enumerate(scores)
        ]

    alone, two = runs(0.5, 0.6, rate=2e6), runs(0.52, 0.6, rate=1e6)
    columns = rank_columns({"alone": alone, "two": two})
    assert columns["speed-up"]["two"] == "0.50 (0.50 .. 0.50)"
    assert columns["MEN, difference"] == {
        "alone": "+0.0000 ± 0.0000", "two": "+0.0100 ± 0.0141"
    }  # fmt: skip
    assert "SimLex-999" not in columns
    assert change(two[::-1], alone, "MEN") == "+0.0100 ± 0.0141"
    (first, _) = mean_runs([alone, two])
    assert first == {"seed": 0, "words_per_s": 1.5e6, "peak_mb": 1, "MEN": 0.51}


def test_ranks_are_started_by_torchrun(tmp_path):
    program = bench_scale.ranks_program("two", "text.yaml", ["model.dim=3"], 2, 500)
    command = program.command(tmp_path, 7)
    start, ours = command[: command.index("--")], command[command.index("--") + 1 :]
    assert start[1:] == [
        "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m"
    ]  # fmt: skip
    assert ours[:2] == ["w2v", "train"]
    assert ours[-4:] == [
        "--set=model.dim=3", "--set=train.threads=1", "--set=distributed.sync_words=500",
        "--set=train.seed=7",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "arguments",
    [
        ["make", "out.txt", "--from", "real.txt", "--gb", "0"],
        ["make", "out.txt", "--from", "absent.txt", "--gb", "1"],
        ["memory", "--from", "real.txt", "--sizes", "0.1", "-1"],
        ["memory", "--from", "real.txt", "--seeds", "0"],
        ["memory", "--from", "absent.txt"],
        ["memory", "--from", "real.txt", "--config", "absent.yaml"],
        ["ranks", "--from", "real.txt", "--ranks", "1"],
        ["ranks", "--from", "real.txt", "-s", "model.dimension=3"],
    ],
)
def test_what_cannot_be_measured_is_one_line(arguments, tmp_path, monkeypatch, capsys, real):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        bench_scale.main(arguments)
    err = capsys.readouterr().err
    assert ended.value.code in (2, 4)
    assert err.startswith("bench_scale: error: ")
    assert err.count("\n") == 1


# --- from end to end --------------------------------------------------------------------------


@pytest.fixture
def planted(tmp_path, monkeypatch):
    """A text that can be trained on, and options for it."""
    path = tmp_path / "planted.txt"
    path.write_text(planted_text(lines=300, seed=0))
    monkeypatch.setenv("W2V_DATA", str(tmp_path / "data"))
    return ["--from", str(path), "--seeds", "1", *(f"-s{setting}" for setting in TINY)]


@pytest.mark.slow
def test_sizes_are_measured(planted, tmp_path, capsys):
    out = tmp_path / "memory.tsv"
    bench_scale.main(["memory", *planted, "--sizes", "0.0001", "--out", str(out)])
    real, big = read_rows(out)
    assert list(real) == list(MEMORY_COLUMNS)
    assert (real["program"], big["program"]) == ("real text", "0.0001 GB")
    assert (real["types"], real["vocab_size"]) == ("18", "19")
    assert int(big["raw_words"]) > 5 * int(real["raw_words"])
    assert float(real["whole_mb"]) >= 0.8 * float(real["build_mb"]) > 10
    told = capsys.readouterr().out
    assert "| 0.0001 GB |" in told
    assert "vocab.min_count=1" in told


@pytest.mark.slow
def test_layouts_are_measured(planted, tmp_path, capsys):
    out, pairs = tmp_path / "ranks.tsv", tmp_path / "men.tsv"
    pairs.write_text("apple0\tapple1\t9\napple0\tmetal1\t2\nriver0\tmetal3\t1\n")
    options = ["--sync-words", "300", "600", "--eval-data", str(tmp_path), "--out", str(out)]
    bench_scale.main(["ranks", *planted, "-strain.epochs=1", *options])
    rows = read_rows(out)
    assert [row["processes"] for row in rows] == ["1", "1", "2", "2"]
    assert [row["threads"] for row in rows] == ["2", "1", "1", "1"]
    assert [row["sync_words"] for row in rows] == ["nan", "nan", "300", "600"]
    told = capsys.readouterr().out
    assert "| mean over sync_words " in told
    assert "| MEN, difference |" in told
