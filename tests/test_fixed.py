"""Spans with room, steps of fixed shapes, and that none of it asks what was drawn."""

from collections import Counter

import numpy as np
import oracle
import pytest
import torch
from test_bmm import seeded, two_topics
from torch.utils._python_dispatch import TorchDispatchMode

from w2v.draws import Span, SpanText, Streams, draw_span, kept_at_most, make_sampler
from w2v.fixed import FixedSteps
from w2v.kernels import bmm
from w2v.kernels.recorded import Recorded
from w2v.model import SkipGram
from w2v.optimizers import make_optimizer
from w2v.sampling import keep_probabilities

CPU = torch.device("cpu")
COUNTS = np.array([0] + [400] * 10)
# (block, shared_negatives): the textbook, its rows sharing noise, and blocks.
MAKERS = [(1, None), (1, 7), (8, 16)]


class Waiting(AssertionError):
    pass


class NeverWait(TorchDispatchMode):
    """Fails at every operation for which the host would have to wait for a GPU."""

    SIZED_BY_DATA = ("nonzero", "masked_select", "unique", "_unique2", "_local_scalar_dense")

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func._schema.name.removeprefix("aten::")
        if name in self.SIZED_BY_DATA:
            raise Waiting(name)
        indices = args[1] if name in ("index", "index_put", "index_put_") else ()
        if any(index is not None and index.dtype == torch.bool for index in indices):
            raise Waiting(f"{name} by a mask")
        if name == "lift_fresh" or (name == "where" and any(arg.dim() == 0 for arg in args[1:])):
            raise Waiting(f"{name}: a number of the host goes to the device")
        if name == "repeat_interleave" and (kwargs or {}).get("output_size") is None:
            raise Waiting(name)
        return func(*args, **(kwargs or {}))


def sampler_of(block, shared, *, redraw=True, subsample=None, counts=COUNTS):
    return make_sampler(
        counts, device=CPU, window=3, negatives=5, noise_power=0.75, subsample=subsample,
        subsample_formula="paper", block=block, shared_negatives=shared, avoid_contexts=True,
        redraw=redraw,
    )  # fmt: skip


def streams_of(seed):
    return Streams(seeded(seed), seeded(seed + 1000))


def model_of(dim=8):
    return SkipGram(11, dim, init="xavier", generator=seeded())


def steady_of(sampler, updates, model, *, batch_size=64, objective="pair_sum"):
    return bmm.SteadySteps(
        model, sampler, updates, batch_size=batch_size, objective=objective, most_words=4500
    )


# --- spans with room --------------------------------------------------------------------------


def test_a_span_with_room_holds_the_kept_words_and_then_nothing():
    sampler, text = sampler_of(8, 16, subsample=0.05), two_topics()
    kept = draw_span(text, sampler, seeded()).words_N
    span = draw_span(text._replace(room=4200), sampler, seeded())
    assert {len(part) for part in span} == {4200}
    assert torch.equal(span.words_N[: len(kept)], kept)
    for part in span:
        assert not part[len(kept) :].any()


def test_windows_of_a_span_with_room_end_with_the_subsampled_sentence():
    # Word 1 is rare and kept, word 2 is common; empty and dropped sentences lie between.
    ids_N = torch.tensor([1, 1, 2, 1, 2, 2, 1, 1, 1]).int()
    text = SpanText(ids_N, torch.tensor([0, 0, 4, 4, 6, 9, 9]), room=8)
    sampler = sampler_of(1, None)._replace(keep_prob_V=torch.tensor([0.0, 1.0, 0.0]))
    reach = [draw_span(text, sampler, seeded(seed)) for seed in range(40)]
    assert all(span.words_N.tolist() == [1] * 6 + [0, 0] for span in reach)
    assert torch.stack([span.left_N for span in reach]).amax(0).tolist() == [0, 1, 2, 0, 1, 2, 0, 0]
    widest = torch.stack([span.right_N for span in reach]).amax(0)
    assert widest.tolist() == [2, 1, 0, 2, 1, 0, 0, 0]


def test_what_finds_no_room_is_left_out_and_no_window_reaches_it():
    sampler = sampler_of(1, None)
    span = draw_span(two_topics()._replace(room=13), sampler, seeded())
    assert torch.equal(span.words_N, two_topics().ids_N[:13].long())
    at_N = torch.arange(13)
    assert (at_N + span.right_N).max() == 12
    assert (at_N - span.left_N).min() == 0


@pytest.mark.parametrize("share", [0.001, 0.3, 1.0])
def test_more_words_than_there_is_room_for_are_never_kept(share):
    ids_N, keep_V = np.ones(20_000, np.int32), np.array([1.0, share], np.float32)
    room = kept_at_most(ids_N, keep_V)
    kept = np.random.default_rng(0).binomial(20_000, share, size=100_000)
    assert kept.max() < room or share == 1.0
    spread = np.sqrt(20_000 * share * (1 - share))
    assert room <= min(20_000, 20_000 * share + 10 * spread + 40)


def test_room_follows_each_word_of_the_span():
    keep_V = keep_probabilities(np.array([0, 10, 10_000]), threshold=1e-3, formula="paper")
    many = kept_at_most(np.repeat(np.array([1], np.int32), 1000), keep_V.astype(np.float32))
    few = kept_at_most(np.repeat(np.array([2], np.int32), 1000), keep_V.astype(np.float32))
    assert (many, few < 130) == (1000, True)


# --- steps of fixed shapes --------------------------------------------------------------------


def pairs_of(batch):
    """Every scored (center, context) of a batch, with its label's weight."""
    found = Counter()
    for b, t, i in (batch.labels_BTL * batch.weights_BTL).nonzero().tolist():
        found[batch.centers_BT[b, t].item(), batch.targets_BL[b, i].item()] += 1
    return found


def pairs_in(span):
    found = Counter()
    for at, (word, left, right) in enumerate(zip(*(part.tolist() for part in span), strict=True)):
        for place in range(at - left, at + right + 1):
            if place != at:
                found[word, span.words_N[place].item()] += 1
    return found


@pytest.mark.parametrize(("block", "shared"), MAKERS)
def test_the_steps_score_every_pair_of_the_span_once(block, shared):
    sampler = sampler_of(block, shared, subsample=0.05)
    steps = FixedSteps(sampler, batch_size=64, most_words=4000)
    shapes = set()
    for seed, room in ((0, 3000), (1, 2990), (2, 3000)):  # one after the other: nothing stays
        span = draw_span(two_topics()._replace(room=room), sampler, seeded(seed))
        num_steps = steps.load(span, streams_of(seed))
        batches = [steps.next_batch() for _ in range(num_steps)]
        shapes |= {tuple(part.shape for part in batch) for batch in batches}
        assert sum(map(pairs_of, batches), Counter()) == pairs_in(span)
        assert num_steps == -(-room // 64)
        # Empty places are spread: no step is much emptier than the others.
        filled = [int((batch.weights_BTL.sum(2) > 0).sum()) for batch in batches[:-1]]
        assert min(filled) > 0.5 * max(filled)
    assert len(shapes) == 1
    assert not steps.next_batch().weights_BTL.any()


@pytest.mark.parametrize(("block", "shared"), MAKERS)
def test_weights_are_those_of_the_formula(block, shared):
    sampler = sampler_of(block, shared)
    steps = FixedSteps(sampler, batch_size=64, most_words=4000)
    num_steps = steps.load(
        draw_span(two_topics()._replace(room=4000), sampler, seeded()), streams_of(0)
    )
    for batch in (steps.next_batch() for _ in range(num_steps)):
        contexts_BT = batch.labels_BTL.sum(2)
        noise_BT = (batch.weights_BTL * (1 - batch.labels_BTL)).sum(2)
        if shared is None:  # of ten words, a few negatives clash more often than STEADY_REDRAWS
            assert (noise_BT <= 5 * contexts_BT).all()
            assert noise_BT.sum() > 0.9 * 5 * contexts_BT.sum()
        else:
            assert torch.allclose(noise_BT[noise_BT > 0], 5 * contexts_BT[noise_BT > 0])


@pytest.mark.parametrize(("block", "shared"), MAKERS)
def test_no_center_meets_one_of_its_contexts_as_noise(block, shared):
    sampler = sampler_of(block, shared)
    steps = FixedSteps(sampler, batch_size=64, most_words=4000)
    steps.load(draw_span(two_topics()._replace(room=4000), sampler, seeded()), streams_of(0))
    batch = steps.next_batch()
    for b, t in np.ndindex(*batch.centers_BT.shape):
        targets, label = batch.targets_BL[b], batch.labels_BTL[b, t]
        noise = targets[(batch.weights_BTL[b, t] > 0) & (label == 0)]
        assert not set(noise.tolist()) & set(targets[label == 1].tolist())


@pytest.mark.parametrize(("block", "shared"), MAKERS)
def test_noise_follows_its_distribution(block, shared):
    counts = np.array([0, 100, 200, 400, 800, 1600])
    sampler = sampler_of(block, shared, counts=counts)._replace(avoid_contexts=False)
    text = SpanText(torch.ones(4000).int(), torch.tensor([0, 4000]), room=4000)
    steps = FixedSteps(sampler, batch_size=64, most_words=4000)
    num_steps = steps.load(draw_span(text, sampler, seeded()), streams_of(0))
    seen_V = np.zeros(6)
    for batch in (steps.next_batch() for _ in range(num_steps)):
        noise_BL = (batch.weights_BTL * (1 - batch.labels_BTL)).sum(1) > 0
        seen_V += np.bincount(batch.targets_BL[noise_BL].numpy(), minlength=6)
    expected_V = counts**0.75 / (counts**0.75).sum() * seen_V.sum()
    assert seen_V[0] == 0
    chi_square = ((seen_V - expected_V)[1:] ** 2 / expected_V[1:]).sum()
    assert chi_square < 18.5  # 4 degrees of freedom, p = .001


@pytest.mark.parametrize(("block", "shared"), MAKERS)
def test_lasting_negatives_are_the_same_in_every_epoch_in_another_order(block, shared):
    sampler = sampler_of(block, shared, redraw=False)
    steps = FixedSteps(sampler, batch_size=64, most_words=4000)
    epochs = []
    for epoch in range(2):
        streams = Streams(seeded(5), seeded(epoch))
        num_steps = steps.load(
            draw_span(two_topics()._replace(room=4000), sampler, streams.draws), streams
        )
        batches = [steps.next_batch() for _ in range(num_steps)]
        rows = [
            (*centers.tolist(), *targets.tolist())
            for batch in batches
            for centers, targets in zip(batch.centers_BT, batch.targets_BL, strict=True)
        ]
        epochs.append(rows)
    assert epochs[0] != epochs[1]
    assert sorted(epochs[0]) == sorted(epochs[1])


# --- the kernel on fixed steps ----------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["adam", "sgd", "adagrad"])
@pytest.mark.parametrize(("block", "shared"), MAKERS)
def test_nothing_waits_for_the_device(block, shared, optimizer):
    sampler = sampler_of(block, shared, subsample=0.05)
    model = model_of()
    steady = steady_of(sampler, make_optimizer(optimizer, model), model)
    text = two_topics(room=3500)
    with NeverWait():
        told = list(steady.train_span(text, lr=(0.1, 0.05), streams=streams_of(0)))
    assert told[-1].done == 1.0


def test_the_check_on_waiting_can_fail():
    sampler, text = sampler_of(1, None, subsample=0.05), two_topics()
    with NeverWait(), pytest.raises(Waiting, match="index by a mask"):
        draw_span(text, sampler, seeded())
    span = draw_span(text, sampler, seeded())
    with NeverWait(), pytest.raises(Waiting, match="nonzero"):
        next(bmm.steps(span, sampler, streams_of(0), batch_size=8))
    three = torch.tensor(3)
    for wait in (
        lambda: three.item(),
        lambda: torch.ones(9).repeat_interleave(three),
        lambda: torch.where(three > 2, three, 1),
        lambda: torch.tensor(3),
    ):
        with NeverWait(), pytest.raises(Waiting):
            wait()


@pytest.mark.parametrize("objective", ["center_mean", "pair_sum"])
@pytest.mark.parametrize(("block", "shared"), MAKERS)
def test_a_step_equals_the_oracle(block, shared, objective):
    sampler, model = sampler_of(block, shared), model_of()
    center_VD, context_VD = (table.detach().double().numpy() for table in model.parameters())
    steady = steady_of(sampler, make_optimizer("sgd", model), model, objective=objective)
    text = two_topics(words=64, room=64)
    span, twin = draw_span(text, sampler, seeded()), FixedSteps(
        sampler, batch_size=64, most_words=4500
    )  # fmt: skip
    assert twin.load(span, Streams(seeded(), seeded(1000))) == 1
    answer = oracle.skip_gram_step(center_VD, context_VD, twin.next_batch(), objective=objective)
    (told,) = steady.train_span(text, lr=(0.1, 0.1), streams=streams_of(0))
    assert told.tally.centers.item() == len(answer.losses)
    assert told.tally.loss_sum.item() == pytest.approx(sum(answer.losses), rel=1e-6)
    for before_VD, gradient_VD, table in zip(
        (center_VD, context_VD), answer[1:], model.parameters(), strict=True
    ):
        np.testing.assert_allclose(
            table.detach().numpy(), before_VD - 0.1 * gradient_VD, rtol=1e-5, atol=1e-6
        )


@pytest.mark.parametrize(
    ("block", "shared", "optimizer", "objective", "lr"),
    [
        (1, None, "adam", "center_mean", 0.02),
        (1, None, "sgd", "pair_sum", 0.02),
        (1, 16, "adagrad", "pair_sum", 0.1),
        (8, 16, "adagrad", "pair_sum", 0.1),
    ],
)
def test_it_learns_as_the_other_steps_do(block, shared, optimizer, objective, lr):
    sampler, losses = sampler_of(block, shared), {}
    for name, room in (("steady", 4200), ("sized", None)):
        model = model_of()
        updates = make_optimizer(optimizer, model)
        train_span = bmm.prepare(
            model, sampler, updates, batch_size=64, objective=objective, lr=0.1
        )
        if room:
            train_span = steady_of(sampler, updates, model, objective=objective).train_span
        for epoch in range(6):
            sums = np.zeros(2)
            for step in train_span(two_topics(room=room), lr=(lr, lr), streams=streams_of(epoch)):
                sums += step.tally.loss_sum.item(), step.tally.centers.item()
            assert sums[1] == 4000
            losses.setdefault(name, []).append(sums[0] / sums[1])
        assert not model.center.weight[0].any()
        assert not model.context.weight[0].any()
    assert losses["steady"] == pytest.approx(losses["sized"], abs=0.02)
    assert losses["steady"][-1] < losses["steady"][0] < 0.7


def test_the_learning_rate_moves_linearly_and_sums_are_told_now_and_then(monkeypatch):
    monkeypatch.setattr(bmm, "TELL_EVERY", 3)
    rates = []

    class Spy:
        def step(self, parts, *, lr):
            rates.append(lr.item())

        def state(self):
            return {}

    steady = steady_of(sampler_of(1, 7), Spy(), model_of(), batch_size=500)
    told = list(steady.train_span(two_topics(room=4000), lr=(1.0, 0.2), streams=streams_of(0)))
    assert rates == pytest.approx([1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3])
    assert [step.done for step in told] == pytest.approx([3 / 8, 6 / 8, 1.0])
    assert [step.tally.centers.item() for step in told] == [1500, 1500, 1000]
    rates.clear()
    rest = steady.train_span(two_topics(room=4000), lr=(1.0, 0.2), streams=streams_of(0), skip=2)
    assert [(step.done, step.tally.centers.item()) for step in rest] == [(1.0, 1000)]
    assert rates == pytest.approx([0.4, 0.3])


@pytest.mark.parametrize("optimizer", ["adam", "sgd", "adagrad"])
@pytest.mark.parametrize(("block", "shared"), MAKERS)
def test_recording_changes_neither_tables_nor_what_the_optimizer_remembers(
    block, shared, optimizer, monkeypatch
):
    """A recording runs the step: then on no words."""
    monkeypatch.setattr(Recorded, "record", lambda self: [self._work() for _ in range(4)])
    runs = []
    for recorded in (False, True):
        model = model_of()
        updates = make_optimizer(optimizer, model)
        steady = steady_of(sampler_of(block, shared), updates, model)
        if recorded:
            steady.record()
        list(steady.train_span(two_topics(room=4100), lr=(0.01, 0.01), streams=streams_of(0)))
        runs.append([*model.parameters(), *updates.state().values()])
    assert all(map(torch.equal, *runs))


def test_a_step_larger_than_a_span_is_recorded_too(monkeypatch):
    monkeypatch.setattr(Recorded, "record", lambda self: [self._work() for _ in range(4)])
    sampler, model = sampler_of(8, 16), model_of()
    steady = steady_of(sampler, make_optimizer("sgd", model), model, batch_size=8000)
    steady.record()
    (told,) = steady.train_span(two_topics(room=4100), lr=(0.0, 0.0), streams=streams_of(0))
    assert told.tally.centers.item() == 4000


class FakeGraph:
    """What `torch.cuda.CUDAGraph` does, for work that runs at once."""

    def __init__(self):
        self.generators, self.work, self.replays = [], None, 0

    def register_generator_state(self, generator):
        self.generators.append(generator)

    def replay(self):
        self.replays += 1


def test_work_is_recorded_after_warming_up_and_then_replayed(monkeypatch):
    events, graphs = [], []

    class Manager:
        def __init__(self, name):
            self.name = name

        def __enter__(self):
            events.append(self.name)

        def __exit__(self, *_):
            events.append(f"end of {self.name}")

        def wait_stream(self, other):
            events.append(f"{self.name} waits")

    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: graphs.append(FakeGraph()) or graphs[-1])
    monkeypatch.setattr(torch.cuda, "Stream", lambda _: Manager("side"))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: Manager("main"))
    monkeypatch.setattr(torch.cuda, "stream", lambda _: Manager("stream"))
    monkeypatch.setattr(torch.cuda, "graph", lambda _graph, stream: Manager("graph"))
    precisions = []

    def work():
        events.append("work")
        precisions.append(torch.backends.cuda.matmul.fp32_precision)

    recorded = Recorded(work, device=torch.device("cuda"), generators=["draws"])
    recorded()
    before = torch.backends.cuda.matmul.fp32_precision
    recorded.record()
    recorded()
    work()
    assert events.pop() == "work"
    assert events == [
        "work", "side waits", "stream", "work", "work", "work", "end of stream",
        "graph", "work", "end of graph", "main waits",
    ]  # fmt: skip
    assert (graphs[0].generators, graphs[0].replays) == (["draws"], 1)
    assert torch.backends.cuda.matmul.fp32_precision == before
    assert set(precisions[1:-1]) == {"tf32"}
    assert precisions[0] == precisions[-1] == before


def test_a_cpu_records_nothing():
    calls = []
    recorded = Recorded(lambda: calls.append(1), device=CPU)
    recorded.record()
    recorded()
    assert calls == [1]


def test_a_span_is_three_columns():
    assert Span._fields == ("words_N", "left_N", "right_N")  # FixedSteps copies them one by one
