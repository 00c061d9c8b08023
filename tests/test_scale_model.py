"""The cost model: each of its numbers by hand, and those that the code decides against the code."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from w2v.draws import make_sampler
from w2v.kernels.pieces import alias_table
from w2v.model import SkipGram
from w2v.optimizers import RowAdagrad
from w2v.sentences import Ids, Offsets

sys.path.append(str(Path(__file__).parent.parent / "scripts"))
import scale_model
import scale_plan
from bench_rows import write_rows
from scale_model import Plan

PLAN = Plan(raw_words=1e9, vocab_size=1600, dim=100)


def test_tables_and_optimizer_are_those_that_training_makes():
    model = SkipGram(1600, 100, init="xavier", generator=torch.Generator(), row_multiple=16)
    tables = sum(t.weight.untyped_storage().nbytes() for t in (model.center, model.context))
    found = scale_model.memory(PLAN._replace(optimizer="adagrad"))
    assert found.tables == tables == 2 * 1600 * 112 * 4
    assert found.dense == 2 * 1600 * 100 * 4
    sums = RowAdagrad(model.center.weight.data, model.context.weight.data).state().values()
    assert found.optimizer == sum(of_V.nbytes for of_V in sums) + 1600 * 8  # and its slots
    assert scale_model.memory(PLAN).optimizer == 0


def test_what_sampling_knows_of_a_word_is_counted():
    counts_V = np.arange(1600)
    sampler = make_sampler(
        counts_V, window=5, negatives=5, noise_power=0.75, subsample=1e-4,
        subsample_formula="word2vec", block=16, shared_negatives=24, avoid_contexts=True,
        redraw=True, device=torch.device("cpu"),
    )  # fmt: skip
    tensors = [value for value in sampler if isinstance(value, torch.Tensor)]
    alias = alias_table(np.diff(sampler.noise_cdf_V.numpy(), prepend=0.0))
    taken = sum(value.nbytes for value in (*tensors, *alias))
    assert taken == 1600 * scale_model.SAMPLER_BYTES


def test_a_word_of_the_vocabulary_is_a_place_a_str_and_a_count():
    assert sys.getsizeof(("",)) - sys.getsizeof(()) == 8
    assert sys.getsizeof("tarkovsky") <= 64  # 49 and a byte a letter, in steps of 16
    assert scale_model.WORD_BYTES == 80


def test_an_id_and_an_offset_are_those_of_the_corpus():
    id_type, offset_type = (of.__args__[1].__args__[0] for of in (Ids, Offsets))
    assert np.dtype(id_type).itemsize == scale_model.ID_BYTES
    assert np.dtype(offset_type).itemsize == scale_model.OFFSET_BYTES
    assert scale_model.corpus_bytes(21e9) == pytest.approx(21e9 * 4 + 1e9 * 8)


def test_a_checkpoint_is_a_dense_copy_and_the_end_is_three():
    found = scale_model.memory(PLAN)
    base = scale_model.BASE_BYTES + 1600 * (80 + 28)
    assert found.training == base + 2 * 1600 * 112 * 4
    assert found.checkpoint == found.training + 2 * 1600 * 100 * 4
    assert found.finishing == found.training + 3 * (2 * 1600 * 100 * 4)
    whole = scale_model.memory(PLAN._replace(dim=112))  # rows without zeros between them
    assert whole.finishing == whole.training + 2 * (2 * 1600 * 112 * 4)


def test_one_of_many_remembers_the_rows_of_the_last_merge():
    alone, one = (scale_model.memory(PLAN._replace(hosts=hosts)) for hosts in (1, 2))
    assert (alone.merged, one.merged) == (0, 3 * one.dense)  # a copy, and two buffers of all rows
    assert one.training - alone.training == 3 * one.dense
    large = scale_model.memory(PLAN._replace(hosts=2, vocab_size=10 * 2**16))
    assert large.merged == large.dense * 1.2


def test_rows_of_a_merge_double_every_second_time():
    rows = [scale_model.merged_rows(1600, number) for number in range(1, 18)]
    seven = [100, 200, 100, 400, 100, 200, 100]
    assert rows == [*seven, 800, *seven, 1600, 100]
    assert scale_model.mean_merged_rows(1600) == 300
    assert scale_model.merged_rows(17, 1) == 2  # rounded up


def test_traffic_by_hand():
    assert scale_model.merge_bytes(1600, 100) == 2 * 1600 * 401
    assert scale_model.sent_bytes(100.0, 1) == 0
    assert scale_model.sent_bytes(100.0, 2) == 100
    assert scale_model.sent_bytes(100.0, 4) == 150


def test_seconds_of_a_merge_by_hand():
    assert scale_model.merge_s(PLAN) == 0
    plan = PLAN._replace(hosts=2, network=1e6)
    payload = 2 * 300 * 401
    seconds = payload / 1e6 + 4 * 2 * 1e-4 + 16 * payload / 17e9
    assert scale_model.merge_s(plan) == pytest.approx(seconds)
    big = plan._replace(vocab_size=16 * 2**16, network=1e12)  # 3 * 2**16 rows, in three parts
    assert scale_model.merge_s(big) == pytest.approx(
        2 * 3 * 2**16 * 401 * (1 / 1e12 + 16 / 17e9) + 12 * 2 * 1e-4
    )


@pytest.mark.parametrize(
    ("dim", "rate"),
    [(50, 16.5e6), (100, 12.2e6), (300, 4.6e6), (400, 2 / (2 / 4.6e6 * 2 - 2 / 7.1e6))],
)
def test_rates_are_the_measured_ones_and_a_line_beyond(dim, rate):
    assert 2 / scale_model.word_s(dim) == pytest.approx(rate)
    assert scale_model.host_rate(PLAN._replace(dim=dim, threads=2)) == pytest.approx(rate)
    assert scale_model.host_rate(PLAN._replace(dim=dim, threads=20)) == pytest.approx(8 * rate)


def test_an_epoch_by_hand():
    plan = PLAN._replace(threads=2)
    assert scale_model.epoch_s(plan, sync_words=1e6) == pytest.approx(1e9 / 12.2e6)
    two = plan._replace(hosts=2)
    seconds = 0.5e9 / 12.2e6 + 500 * scale_model.merge_s(two)
    assert scale_model.epoch_s(two, sync_words=1e6) == pytest.approx(seconds)
    assert scale_model.merges(two, sync_words=1e6) == 500
    assert scale_model.merges(two, sync_words=1e9) == 1  # at the end


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_merging_takes_its_share(share):
    plan = PLAN._replace(hosts=4, vocab_size=10**6, raw_words=1e12)
    words = scale_model.sync_words_for(plan, share=share)
    merging_s = scale_model.merges(plan, sync_words=words) * scale_model.merge_s(plan)
    assert merging_s / scale_model.epoch_s(plan, sync_words=words) == pytest.approx(share)


def test_an_interval_is_short_enough_for_the_merges_that_are_wanted():
    plan = PLAN._replace(hosts=4, vocab_size=10**6)
    assert scale_model.merges(plan, sync_words=scale_model.interval(plan)) == 100
    long = plan._replace(raw_words=1e13)
    assert scale_model.interval(long) == scale_model.sync_words_for(long)


def test_numbers_as_they_are_read():
    assert [scale_plan.scaled(n) for n in (999, 1000, 123_456, 999_999, 5e9, 1e12)] == [
        "1 k", "1 k", "120 k", "1 M", "5 G", "1 T"
    ]  # fmt: skip
    assert [scale_plan.lasting(s) for s in (5, 90, 7200, 200_000)] == [
        "5 s",
        "1.5 min",
        "2 h",
        "2.3 d",
    ]
    assert scale_plan.gigabytes(1.234e9) == "1.2 GB"
    assert scale_plan.gigabytes(5.4e12) == "5.4 TB"


def test_the_tables_have_every_size(capsys):
    scale_plan.main([])
    out = capsys.readouterr().out
    assert out.count("\n| 10 M x 1,000 ") == 2  # memory, traffic
    assert "\n| 1 T words, dim 1,000 " in out
    assert out.count("\n| --") == 4


def test_the_page_shows_these_tables():
    page = (Path(__file__).parent.parent / "docs" / "scale.md").read_text()
    for each in (
        scale_plan.memory_table, scale_plan.disk_table, scale_plan.time_table,
        scale_plan.traffic_table,
    ):  # fmt: skip
        assert each() in page


def test_the_model_beside_measurements(tmp_path, capsys):
    row = {"vocab_size": "1600", "dim": "100", "raw_words": "1000000000", "words_per_s": "6.1e6"}
    row |= {"peak_mb": "1000", "threads": "1", "processes": "1", "sync_words": "nan"}
    many = row | {"program": "two", "processes": "2", "sync_words": "1000000"}
    path = tmp_path / "ranks.tsv"
    rows = [row | {"program": "one"}, many, many | {"words_per_s": "8.1e6"}]
    write_rows(path, rows, list(many))
    scale_plan.main(["--check", str(path)])
    head, _, one, two = capsys.readouterr().out.splitlines()
    titles = [title.strip() for title in head.strip("|").split("|")]
    cells = dict(zip(titles, (cell.strip() for cell in one.strip("|").split("|")), strict=True))
    assert cells["M words/s, measured"] == cells["M words/s, modeled"] == "6.1"
    assert cells["M words/s, ratio"] == "1.00"
    assert "| 7.1 " in two  # the median
