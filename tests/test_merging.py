"""Merged tables: by hand, against one process that does all, and through the loop."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peers import together
from test_loop import CPU, config_of, corpus_of

from w2v import loop
from w2v.config import DistributedSection
from w2v.errors import DataError
from w2v.group import Alone
from w2v.kernels import bmm
from w2v.learner import make_learner
from w2v.meetings import LEVELS, MOST_DELAYED, Meetings, MergedRows
from w2v.merging import CURVATURE, FARTHEST, blend, make_merging
from w2v.optimizers import uses_of
from w2v.sentences import Sentences, shards
from w2v.vocab import Vocab


def ones(lr, waited_V):
    return torch.ones_like(waited_V)


# --- the weight ---------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 3, 8, 64])
@pytest.mark.parametrize("uses", [1, 4, 40])
def test_merged_steps_settle_whatever_the_number_of_processes(size, uses):
    """A number that each use moves by h of what is left of its way to 1, in equal processes."""
    rate, base, mine, on_its_way = 0.2, 0.0, 0.0, 0.0
    weight = float(blend(torch.tensor(float(uses)), torch.tensor(rate), size))
    errors = []
    for _ in range(120):
        for _ in range(uses):
            mine += rate * CURVATURE * (1.0 - mine)
        if size > MOST_DELAYED:
            on_its_way = mine - base
        base += weight * size * on_its_way
        mine += weight * size * on_its_way - on_its_way
        if size <= MOST_DELAYED:
            on_its_way = mine - base
        errors.append(abs(1.0 - mine))
    assert errors[-1] < 1e-3
    assert max(errors) <= 1.0


def test_rare_rows_add_up_and_those_at_rest_go_as_far_as_is_safe():
    uses = torch.tensor([0.0, 1e-9, 1e-3, 1.0, 1e3, 1e9])
    weight = blend(uses, torch.tensor(0.05), 4)
    assert weight[:4].tolist() == [1.0] * 4
    assert weight[-2:].tolist() == pytest.approx([FARTHEST / 4] * 2)
    half_way = torch.tensor(np.log(0.5) / np.log1p(-0.05 * CURVATURE))
    assert float(blend(half_way, torch.tensor(0.05), 8)) == pytest.approx(FARTHEST / 4)
    without_measure = blend(uses, torch.tensor(torch.inf), 4)
    assert without_measure[0] == 1
    assert without_measure[-2:].tolist() == pytest.approx([FARTHEST / 4] * 2, rel=1e-2)


# --- when, and how many rows --------------------------------------------------------------------


def test_frequent_rows_are_merged_at_each_meeting_all_at_every_sixteenth():
    turns = []

    class Spy(Meetings):
        def _merge_changed(self, values, base, weight_V):
            turns.append(len(values))

    meetings = Spy(Alone(), per_epoch=20, parts={"a": MergedRows(*torch.zeros(2, 64, 2), ones)})
    meetings.begin(0)
    wholes = []
    for share in (0.31, 0.32, 0.9, 1.0):
        for whole in meetings.due(share):
            meetings.merge(0.1, whole=whole)
            wholes.append(whole)
    meetings.merge(0.1, whole=True)
    expected = [4, 8, 4, 16, 4, 8, 4, 32, 4, 8, 4, 16, 4, 8, 4, 64, 4, 8, 4]
    assert turns == [*expected, 64]
    assert wholes == [turn == 64 for turn in expected]
    assert 2**LEVELS == 16


@given(st.integers(1, 200), st.lists(st.floats(0, 1), max_size=8))
def test_meetings_are_as_many_in_whatever_steps_a_process_goes(per_epoch, shares):
    rows = MergedRows(*torch.zeros(2, 1, 1), ones)
    meetings = Meetings(Alone(), per_epoch=per_epoch, parts={"a": rows})
    meetings.begin(0)
    found = [whole for share in (*sorted(shares), 1.0) for whole in meetings.due(share)]
    assert len(found) == per_epoch - 1
    assert found == [number % 2**LEVELS == 0 for number in range(1, per_epoch)]


def test_a_row_that_waits_longer_was_used_more():
    waits = []

    def weight(lr, waited_V):
        waits.append(waited_V.tolist())
        return torch.ones_like(waited_V)

    rows = MergedRows(torch.zeros(16), torch.zeros(16), weight)
    meetings = Meetings(Alone(), per_epoch=5, parts={"a": rows})
    meetings.begin(0)
    for whole in meetings.due(1.0):
        meetings.merge(0.1, whole=whole)
    meetings.merge(0.1, whole=True)
    assert waits == [[1], [1, 2], [1], [1, 2, 4, 4], [1, 1, 1, 1, *[5] * 12]]


# --- rows ---------------------------------------------------------------------------------------


def merged(tables, base, weight):
    """What two processes' tables become."""

    def one(group):
        mine, own_base = tables[group.world.rank].clone(), base.clone()
        parts = {"a": MergedRows(mine, own_base, lambda lr, waited_V: weight[: len(waited_V)])}
        Meetings(group, per_epoch=1, parts=parts).merge(0.1, whole=True)
        assert torch.equal(mine, own_base)
        return mine

    first, second = together(2, one)
    assert torch.equal(first, second)
    return first


def test_rows_by_hand():
    base = torch.tensor([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]])
    first = torch.tensor([[2.0, 1.0], [2.0, 2.0], [4.0, 3.0]])
    second = torch.tensor([[1.0, 4.0], [2.0, 2.0], [6.0, 3.0]])
    found = merged([first, second], base, torch.tensor([1.0, 1.0, 0.5]))
    assert found.tolist() == [[2.0, 4.0], [2.0, 2.0], [5.0, 3.0]]


def test_rows_that_changed_nowhere_keep_their_bytes():
    rng = torch.Generator().manual_seed(1)
    base = torch.randn(500, 7, generator=rng)
    tables = [base.clone(), base.clone()]
    tables[0][3] += 1
    tables[1][400] += 1
    found = merged(tables, base, torch.ones(500))
    assert (found != base).any(1).nonzero()[:, 0].tolist() == [3, 400]


def test_rows_that_are_surely_used_arrive_at_the_next_meeting():
    """Two rows of two processes, merged in part at the first meeting, whole at the epoch's end."""

    def one(group):
        table, base = torch.zeros(32, 1), torch.zeros(32, 1)
        parts = {"a": MergedRows(table, base, lambda lr, waited_V: 0.5 * waited_V / waited_V)}
        uses_V = torch.full((32,), 100.0)
        meetings = Meetings(group, per_epoch=3, parts=parts, uses_V=uses_V)
        meetings.begin(0)
        seen = []
        for step, share in enumerate((1 / 3, 2 / 3)):
            table += 1.0 + group.world.rank + step
            for whole in meetings.due(share):
                meetings.merge(0.1, whole=whole)
            seen.append(table[[0, 2, 4], 0].tolist())
        table += 1.0
        meetings.merge(0.1, whole=True)
        assert torch.equal(table, base)
        return seen, table[[0, 2, 4], 0].tolist()

    (first, end), (second, other_end) = together(2, one)
    # Rows 0 and 1 are sent at the first meeting, 0 to 3 at the second; each adds half the sum.
    assert first == [[1.0, 1.0, 1.0], [1.0 + 2 + (1.5 - 1), 3.0, 3.0]]
    assert second == [[2.0, 2.0, 2.0], [2.0 + 3 + (1.5 - 2), 5.0, 5.0]]
    assert end == other_end == [1.5 + 2.5 + 1, (3 + 5) / 2 + 1, (3 + 5) / 2 + 1]


def test_what_another_thread_adds_meanwhile_stays():
    class Busy(Alone):
        def total(self, values):
            table[0, 0] += 10  # while the sum is on its way
            return values * 2  # as if a second process had moved as far

    table, base = torch.tensor([[1.0, 1.0]]), torch.tensor([[0.0, 1.0]])
    parts = {"a": MergedRows(table, base, ones)}
    Meetings(Busy(), per_epoch=1, parts=parts).merge(0.1, whole=True)
    assert table.tolist() == [[12.0, 1.0]]
    assert base.tolist() == [[2.0, 1.0]]


# --- shares of the text -------------------------------------------------------------------------


@given(st.lists(st.integers(0, 9), max_size=12), st.integers(1, 5))
def test_shards_are_runs_of_whole_sentences(lengths, number):
    offsets_S = np.cumsum([0, *lengths])
    sentences = Sentences(np.zeros(sum(lengths), np.int32), offsets_S)
    with_words = np.count_nonzero(lengths)
    if number > 1 and with_words < number:
        with pytest.raises(DataError, match=f"{number} processes for fewer sentences"):
            shards(sentences, number)
        return
    found = shards(sentences, number)
    assert [start for start, _ in found] + [sum(lengths)] == [0] + [end for _, end in found]
    assert {place for part in found for place in part} <= set(offsets_S.tolist())
    assert number == 1 or all(start < end for start, end in found)
    longest = max(lengths, default=0)
    if longest and sum(lengths) / number > 3 * longest:
        assert all(abs(end - start - sum(lengths) / number) <= longest for start, end in found)


# --- the loop -----------------------------------------------------------------------------------


def learner_in(group, config, corpus, kernel=bmm.KERNEL, **distributed):
    return make_learner(
        corpus,
        model=config.model,
        sampling=config.sampling,
        train=config.train,
        kernel=kernel,
        device=CPU,
        group=group,
        distributed=DistributedSection(**distributed),
    )


@pytest.mark.parametrize("optimizer", ["sgd", "adagrad", "adam"])
def test_two_processes_tell_the_same_and_end_with_the_same_tables(optimizer):
    corpus = corpus_of(*[30] * 20, *[7] * 60)  # the second process's steps end elsewhere
    config = config_of(optimizer=optimizer, lr=0.05, lr_schedule="linear")

    def one(group):
        learner = learner_in(group, config, corpus, sync_words=50)
        assert learner.merging.per_epoch == 10
        found = list(loop.reports(learner, corpus, config.train))
        return found, {name: tensor.clone() for name, tensor in learner.tensors().items()}

    (first, tables), (second, others) = together(2, one)
    assert [report._replace(place=None) for report in first] == [
        report._replace(place=None) for report in second
    ]
    for name, tensor in tables.items():
        assert torch.equal(tensor, others[name]), name
    alone = learner_in(Alone(), config, corpus)
    whole = list(loop.reports(alone, corpus, config.train))
    ended = [[r for r in reports if r.epoch_ended] for reports in (first, whole)]
    assert [r.words for r in ended[0]] == [r.words for r in ended[1]]
    assert [r.centers for r in ended[0]] == [r.centers for r in ended[1]] == [1020, 1020]
    assert ended[0][-1].loss == pytest.approx(ended[1][-1].loss, abs=0.1)


def many_words(number):
    """Each is used seldom: one process adds each use to a row, several their sum, rounded apart."""
    rng = np.random.default_rng(0)
    corpus = corpus_of(*[7, 12, 30] * 20, heldout=[9] * 9)
    vocab = Vocab(tuple(map(str, range(number))), np.full(number, 5))
    train, heldout = (
        Sentences(rng.integers(1, number, len(part.ids_N)).astype(np.int32), part.offsets_S)
        for part in (corpus.train, corpus.heldout)
    )
    return dataclasses.replace(corpus, vocab=vocab, train=train, heldout=heldout)


@pytest.mark.parametrize("objective", ["center_mean", "pair_sum"])
@pytest.mark.parametrize("optimizer", ["sgd", "adagrad", "adam"])
@pytest.mark.parametrize("shared", [None, 16])
def test_shared_gradients_are_those_of_one_process_with_twice_the_batch(
    optimizer, objective, shared
):
    corpus = many_words(300)
    config = config_of(optimizer=optimizer, objective=objective, lr=0.02, epochs=2, batch_size=32)
    config = config.model_copy(
        update={
            "sampling": config.sampling.model_copy(
                update={"block": 8 if shared else 1, "shared_negatives": shared}
            )
        }
    )
    twice = config.model_copy(update={"train": config.train.model_copy(update={"batch_size": 64})})

    def one(group):
        learner = learner_in(group, config, corpus, merge="gradients", sync_words=100)
        return learner, list(loop.reports(learner, corpus, config.train))

    (learner, found), (other, _) = together(2, one)
    alone = learner_in(Alone(), twice, corpus)
    expected = list(loop.reports(alone, corpus, twice.train))
    for name, tensor in alone.tensors().items():
        assert torch.allclose(learner.tensors()[name], tensor, rtol=1e-5, atol=1e-5), name
        assert torch.equal(learner.tensors()[name], other.tensors()[name]), name
    mine, theirs = ([r for r in reports if r.epoch_ended] for reports in (found, expected))
    assert [r.loss for r in mine] == pytest.approx([r.loss for r in theirs], abs=1e-5)
    assert [r.heldout_loss for r in mine] == pytest.approx([r.heldout_loss for r in theirs])
    assert [r.centers for r in mine] == [r.centers for r in theirs]


def test_uses_of_a_row_are_those_of_the_steadied_optimizer():
    corpus, config = corpus_of(*[30] * 4), config_of(optimizer="sgd")
    sampler = learner_in(Alone(), config, corpus).sampler
    mean, summed = (
        uses_of(sampler, centers=100.0, objective=objective)
        for objective in ("center_mean", "pair_sum")
    )
    for of_mean_V, of_sum_V in zip(mean, summed, strict=True):
        assert torch.allclose(of_mean_V * 36, of_sum_V)


def test_one_process_merges_nothing():
    merging = make_merging(
        Alone(),
        {},
        is_still=None,
        words=10,
        sync_words=1,
        step_words=0,
        rates=None,
        uses=(),
        sums=True,
    )
    merging.begin(0)
    assert list(merging.due(0.5)) == [True]
    assert merging.told(sums=(1, torch.tensor(2.0)), first=(3,)) == [1.0, 2.0, 3.0]
