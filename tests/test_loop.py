import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from w2v import loop
from w2v.config import Config, TrainSection
from w2v.corpus import Corpus, Sentences
from w2v.errors import DataError, DivergedError
from w2v.vocab import Vocab, WordCounts

CPU = torch.device("cpu")
NOTHING = WordCounts((), np.zeros(0, np.int64))


def sentences_of(*lengths):
    offsets_S = np.cumsum([0, *lengths])
    return Sentences(np.arange(offsets_S[-1], dtype=np.int32) % 9 + 1, offsets_S)


def corpus_of(*lengths, heldout=()):
    vocab = Vocab(("<unk>", *"abcdefghi"), np.array([10, *[100] * 9]))
    return Corpus(vocab, NOTHING, sentences_of(*lengths), sentences_of(*heldout), "digest")


def config_of(**train):
    return Config(
        sampling={"subsample": None},
        model={"dim": 8},
        train={"batch_size": 32, "lr": 0.01, "epochs": 2} | train,
    )


def train_all(config, corpus):
    learner = loop.make_learner(config, corpus, device=CPU)
    return learner, list(loop.steps(learner, corpus, config.train))


@given(st.lists(st.integers(0, 12), max_size=12), st.integers(1, 20))
def test_spans_cover_the_text_once_and_cut_only_long_sentences(lengths, max_words):
    sentences = sentences_of(*lengths)
    cuts = loop.spans(sentences, max_words=max_words)
    assert [word for start, end in cuts for word in range(start, end)] == list(range(sum(lengths)))
    borders = set(sentences.offsets_S.tolist())
    for start, end in cuts:
        assert end - start <= max_words
        longest = max(
            (b - a for a, b in zip(sentences.offsets_S, sentences.offsets_S[1:], strict=False)
             if a <= start < b),
            default=0,
        )  # fmt: skip
        assert end in borders or longest > max_words or end - start == max_words


@given(st.lists(st.integers(0, 12), min_size=1, max_size=12), st.integers(1, 20))
def test_a_cut_span_keeps_words_and_sentence_borders(lengths, max_words):
    sentences = sentences_of(*lengths)
    for start, end in loop.spans(sentences, max_words=max_words):
        ids_N, offsets_S = loop.cut(sentences, start, end, device=CPU)
        assert ids_N.dtype == torch.int64
        assert ids_N.tolist() == sentences.ids_N[start:end].tolist()
        borders = [b - start for b in sentences.offsets_S.tolist() if start < b < end]
        assert offsets_S.tolist()[0] == 0
        assert offsets_S.tolist()[-1] == end - start
        assert set(offsets_S.tolist()) == {0, end - start, *borders}


def test_the_linear_schedule_falls_to_a_ten_thousandth():
    section = TrainSection(lr=0.5, lr_schedule="linear", epochs=4)
    rates = [loop.learning_rate(section, epochs) for epochs in (0, 1, 2, 4)]
    assert rates == pytest.approx([0.5, 0.375, 0.25, 0.5e-4])
    constant = TrainSection(lr=0.5, epochs=4)
    assert {loop.learning_rate(constant, epochs) for epochs in (0, 1, 4)} == {0.5}


def test_each_epoch_ends_with_a_report_of_its_own_counts():
    corpus = corpus_of(*[10] * 30, heldout=[10] * 5)
    learner, reports = train_all(config_of(), corpus)
    ends = [report for report in reports if report.epoch_ended]
    assert [report.epoch for report in ends] == [1, 2]
    assert [report.centers for report in ends] == [300, 300]
    assert [report.words for report in ends] == [corpus.raw_words] * 2
    assert [report.done for report in ends] == [0.5, 1.0]
    assert [report.step for report in ends] == [10, 20]
    assert all(0 < report.loss < 1 for report in ends)
    assert all(0 < report.heldout_loss < 1 for report in ends)
    assert learner.heldout


def test_reports_come_in_time_order_and_within_long_epochs(monkeypatch):
    monkeypatch.setattr(loop, "REPORT_EVERY_S", 0.0)
    _, reports = train_all(config_of(), corpus_of(*[10] * 30))
    assert len(reports) == 20 + 2
    assert [report.done for report in reports] == sorted(report.done for report in reports)
    within = [report for report in reports if not report.epoch_ended]
    assert all(report.heldout_loss is None for report in within)


def test_the_heldout_loss_does_not_depend_on_the_runs_seed_or_block():
    corpus = corpus_of(*[10] * 30, heldout=[10] * 50)
    fixed = [
        loop.make_learner(config, corpus, device=CPU).heldout
        for config in (
            config_of(),
            config_of(seed=5),
            Config(sampling={"subsample": None, "block": 8}, train={"batch_size": 32}),
        )
    ]
    for other in fixed[1:]:
        for first, second in zip(fixed[0], other, strict=True):
            assert all(map(torch.equal, first, second))


def test_spans_of_an_epoch_are_all_trained(monkeypatch):
    monkeypatch.setattr(loop, "SPAN_WORDS", 40)
    corpus = corpus_of(*[10] * 31)
    assert len(loop.spans(corpus.train, max_words=40)) == 8
    _, reports = train_all(config_of(), corpus)
    assert [report.centers for report in reports if report.epoch_ended] == [310, 310]


def test_an_epoch_is_drawn_anew_and_equal_seeds_draw_equally():
    corpus = corpus_of(*[10] * 30)
    tables = [train_all(config_of(seed=seed), corpus)[0].model.center.weight for seed in (1, 1, 2)]
    assert torch.equal(tables[0], tables[1])
    assert not torch.equal(tables[0], tables[2])


@pytest.mark.parametrize("redraw", [True, False])
def test_only_what_is_redrawn_changes_from_epoch_to_epoch(redraw):
    config = Config(sampling={"redraw": redraw})
    learner = loop.make_learner(config, corpus_of(10), device=CPU)
    first, second = (loop._streams(learner.sampler, 1, epoch, 0) for epoch in (1, 2))
    assert (first.draws.initial_seed() != second.draws.initial_seed()) == redraw
    assert first.order.initial_seed() != second.order.initial_seed()


def test_text_without_a_pair_is_refused():
    with pytest.raises(DataError, match="no training pairs"):
        train_all(config_of(), corpus_of(1, 1, 1))


def test_a_non_finite_loss_stops_training():
    corpus = corpus_of(*[10] * 30)
    learner = loop.make_learner(config_of(), corpus, device=CPU)
    learner.model.center.weight.data[3, 2] = math.nan
    with pytest.raises(DivergedError, match=r"the loss became nan \(epoch 1, step 10, lr 0.01\)"):
        list(loop.steps(learner, corpus, config_of().train))


def test_a_table_with_an_infinity_stops_training_though_the_loss_is_finite():
    corpus = corpus_of(*[10] * 30)
    learner = loop.make_learner(config_of(), corpus, device=CPU)
    learner.model.center.weight.data[0, 0] = math.inf  # <unk>: never scored
    with pytest.raises(DivergedError, match="the tables are no longer finite"):
        list(loop.steps(learner, corpus, config_of().train))


def test_tables_that_cannot_be_allocated_are_a_storage_error():
    corpus = corpus_of(10)
    words = ("<unk>", *(f"w{i}" for i in range(1)))
    huge = Config(model={"dim": 10_000})
    object.__setattr__(corpus, "vocab", _Endless(words))
    with pytest.raises(loop.StorageError, match="out of memory on cpu: the tables of 4,000,"):
        loop.make_learner(huge, corpus, device=CPU)


class _Endless(Vocab):
    def __init__(self, words):
        super().__init__(words, np.array([0, 10]))

    def __len__(self):
        return 4_000_000_000
