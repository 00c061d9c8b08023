import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from w2v import loop
from w2v.config import Config
from w2v.corpus import Corpus
from w2v.errors import DataError, DivergedError
from w2v.kernels import bmm
from w2v.kernels.interface import Step, Tally
from w2v.learner import make_learner
from w2v.schedule import learning_rate
from w2v.sentences import Sentences, cut, spans
from w2v.vocab import Vocab, WordCounts

CPU = torch.device("cpu")
NOTHING = WordCounts((), np.zeros(0, np.int64))
NO_SPECTRUM = np.zeros((0, 2), np.int64)


def sentences_of(*lengths):
    offsets_S = np.cumsum([0, *lengths])
    return Sentences(np.arange(offsets_S[-1], dtype=np.int32) % 9 + 1, offsets_S)


def corpus_of(*lengths, heldout=()):
    vocab = Vocab(("<unk>", *"abcdefghi"), np.array([10, *[100] * 9]))
    return Corpus(
        vocab, NOTHING, sentences_of(*lengths), sentences_of(*heldout), "digest", NO_SPECTRUM
    )


def config_of(**train):
    return Config(
        sampling={"subsample": None},
        model={"dim": 8},
        train={"batch_size": 32, "lr": 0.01, "epochs": 2} | train,
    )


def learner_of(config, corpus, *, span_words=bmm.SPAN_WORDS):
    return make_learner(
        corpus,
        model=config.model,
        sampling=config.sampling,
        train=config.train,
        kernel=bmm.KERNEL._replace(span_words=span_words),
        device=CPU,
    )


def train_all(config, corpus, **options):
    learner = learner_of(config, corpus, **options)
    return learner, list(loop.reports(learner, corpus, config.train))


@given(st.lists(st.integers(0, 12), max_size=12), st.integers(1, 20))
def test_spans_cover_the_text_once_and_cut_only_long_sentences(lengths, max_words):
    sentences = sentences_of(*lengths)
    cuts = spans(sentences, max_words=max_words)
    assert [word for start, end in cuts for word in range(start, end)] == list(range(sum(lengths)))
    borders = sentences.offsets_S.tolist()
    for start, end in cuts:
        assert end - start <= max_words
        sentence_end = min(border for border in borders if border > start)
        assert end in borders or sentence_end - start > max_words


@given(st.lists(st.integers(0, 12), min_size=1, max_size=12), st.integers(1, 20))
def test_a_cut_span_keeps_words_and_sentence_borders(lengths, max_words):
    sentences = sentences_of(*lengths)
    for start, end in spans(sentences, max_words=max_words):
        ids_N, offsets_S = cut(sentences, start, end)
        assert ids_N.dtype == np.int32
        assert ids_N.tolist() == sentences.ids_N[start:end].tolist()
        borders = [b - start for b in sentences.offsets_S.tolist() if start < b < end]
        assert offsets_S.tolist()[0] == 0
        assert offsets_S.tolist()[-1] == end - start
        assert set(offsets_S.tolist()) == {0, end - start, *borders}


def test_the_linear_schedule_falls_to_a_ten_thousandth():
    rates = [learning_rate("linear", lr=0.5, done=done) for done in (0, 0.25, 0.5, 1)]
    assert rates == pytest.approx([0.5, 0.375, 0.25, 0.5e-4])
    assert {learning_rate("constant", lr=0.5, done=done) for done in (0, 0.25, 1)} == {0.5}


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
        learner_of(config, corpus).heldout
        for config in (
            config_of(),
            config_of(seed=5),
            Config(
                sampling={"subsample": None, "block": 8, "shared_negatives": 16},
                train={"batch_size": 32},
            ),
        )
    ]
    for other in fixed[1:]:
        for first, second in zip(fixed[0], other, strict=True):
            assert all(map(torch.equal, first, second))


class Spy:
    """A kernel that trains nothing and remembers what it was asked."""

    def __init__(self):
        self.asked = []

    def __call__(self, text, *, lr, streams, skip=0):
        self.asked.append((text.ids_N.tolist(), lr, streams))
        for done in (0.5, 1.0):
            yield Step(Tally(torch.tensor(1.0), torch.tensor(2)), done)


def test_spans_are_shuffled_and_the_rate_falls_through_all_of_them(monkeypatch):
    monkeypatch.setattr(loop, "REPORT_EVERY_S", 0.0)
    corpus, spy = corpus_of(*[10] * 40), Spy()
    config = config_of(lr=1.0, lr_schedule="linear", epochs=2)
    learner = learner_of(config, corpus, span_words=40)._replace(train_span=spy)
    found = list(loop.reports(learner, corpus, config.train))
    assert [report.done for report in found if not report.epoch_ended] == pytest.approx(
        [i / 40 for i in range(1, 41)]
    )
    for epoch in (0, 1):
        asked = spy.asked[10 * epoch : 10 * epoch + 10]
        rates = [rate for _, lr, _ in asked for rate in lr]
        expected = [1 - (epoch + at / 10) / 2 for i in range(10) for at in (i, i + 1)]
        assert rates == pytest.approx([max(rate, 1e-4) for rate in expected])
        words = [word for ids, _, _ in asked for word in ids]
        assert sorted(words) == sorted(corpus.train.ids_N.tolist())
    orders = [[ids[0] for ids, _, _ in spy.asked[i : i + 10]] for i in (0, 10)]
    assert orders[0] != orders[1]
    assert len({streams.draws.initial_seed() for _, _, streams in spy.asked}) == 20


def test_a_span_without_pairs_is_passed_all_the_same():
    corpus = corpus_of(*[1] * 80, *[10] * 8)
    _, found = train_all(config_of(), corpus, span_words=40)
    ends = [report for report in found if report.epoch_ended]
    assert [report.done for report in ends] == [0.5, 1.0]
    assert [report.words for report in ends] == [corpus.raw_words] * 2


def test_heldout_centers_are_capped_and_come_from_the_first_span(monkeypatch):
    monkeypatch.setattr("w2v.learner.HELDOUT_SPAN", 700)
    monkeypatch.setattr("w2v.learner.HELDOUT_CENTERS", 1024)
    whole = learner_of(config_of(), corpus_of(10, heldout=[10] * 200)).heldout
    assert sum(len(batch.centers_BT) for batch in whole) == 700
    monkeypatch.setattr("w2v.learner.HELDOUT_CENTERS", 512)
    capped = learner_of(config_of(), corpus_of(10, heldout=[10] * 200)).heldout
    assert sum(len(batch.centers_BT) for batch in capped) == 512


def test_spans_of_an_epoch_are_all_trained():
    corpus = corpus_of(*[10] * 31)
    assert len(spans(corpus.train, max_words=40)) == 8
    _, reports = train_all(config_of(), corpus, span_words=40)
    assert [report.centers for report in reports if report.epoch_ended] == [310, 310]


def test_equal_seeds_draw_equally():
    corpus = corpus_of(*[10] * 30)
    tables = [train_all(config_of(seed=seed), corpus)[0].model.center.weight for seed in (1, 1, 2)]
    assert torch.equal(tables[0], tables[1])
    assert not torch.equal(tables[0], tables[2])


@pytest.mark.parametrize("redraw", [True, False])
def test_only_what_is_redrawn_changes_from_epoch_to_epoch(redraw):
    config = Config(sampling={"redraw": redraw})
    learner = learner_of(config, corpus_of(10))
    first, second = (loop._streams(learner.sampler, 1, epoch, 0) for epoch in (1, 2))
    assert (first.draws.initial_seed() != second.draws.initial_seed()) == redraw
    assert first.order.initial_seed() != second.order.initial_seed()


def test_text_without_a_pair_is_refused_with_the_reason():
    with pytest.raises(DataError, match="no training pairs") as error:
        train_all(config_of(), corpus_of(1, 1, 1))
    assert "subsampl" not in str(error.value) + error.value.hint
    thin = Config(sampling={"subsample": 1e-9}, model={"dim": 8}, train={"batch_size": 32})
    with pytest.raises(DataError, match="after subsampling") as error:
        train_all(thin, corpus_of(3, 3))
    assert "sampling.subsample" in error.value.hint


def test_a_non_finite_loss_stops_training():
    corpus = corpus_of(*[10] * 30)
    learner = learner_of(config_of(), corpus)
    learner.model.center.weight.data[3, 2] = math.nan
    with pytest.raises(DivergedError, match=r"the loss became nan \(epoch 1, step 10, lr 0.01\)"):
        list(loop.reports(learner, corpus, config_of().train))


def test_a_table_with_an_infinity_stops_training_though_the_loss_is_finite():
    corpus = corpus_of(*[10] * 30)
    learner = learner_of(config_of(), corpus)
    learner.model.center.weight.data[0, 0] = math.inf  # <unk>: never scored
    with pytest.raises(DivergedError, match="the sum of the tables became inf"):
        list(loop.reports(learner, corpus, config_of().train))


def test_a_heldout_loss_that_is_not_finite_stops_training():
    corpus = corpus_of(*[10] * 30, heldout=[10] * 5)
    learner = learner_of(config_of(), corpus)._replace(train_span=Spy())
    for table in learner.model.parameters():
        table.data.fill_(1e25)
        table.data[1::2] *= -1  # the sum stays finite, products do not
    with pytest.raises(DivergedError, match="held-out"):
        list(loop.reports(learner, corpus, config_of().train))
