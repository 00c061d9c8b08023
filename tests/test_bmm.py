import numpy as np
import oracle
import pytest
import torch

from w2v.batches import Batch
from w2v.draws import SpanText, Streams, make_sampler
from w2v.kernels import bmm
from w2v.model import SkipGram, masked_bce
from w2v.optimizers import make_optimizer

V, D = 12, 6


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def make_model():
    model = SkipGram(V, D, init="xavier", generator=seeded())
    with torch.no_grad():
        for table in model.parameters():
            table *= 3  # away from the flat middle of the sigmoid
    return model


def random_batch(B, T, L, seed=0):
    generator = seeded(seed)
    weights_BTL = torch.rand(B, T, L, generator=generator)
    weights_BTL[weights_BTL < 0.3] = 0.0
    weights_BTL[-1, -1] = 0.0  # a padded center
    return Batch(
        torch.randint(1, V, (B, T), generator=generator),
        torch.randint(1, V, (B, L), generator=generator),
        (torch.rand(B, T, L, generator=generator) < 0.3).float(),
        weights_BTL,
    )


def dense_gradients(rows):
    center_VD, context_VD = torch.zeros(V, D), torch.zeros(V, D)
    center_VD.index_add_(0, rows.center_rows_N, rows.center_ND)
    context_VD.index_add_(0, rows.context_rows_M, rows.context_MD)
    return center_VD, context_VD


SHAPES = [(1, 1, 1), (5, 1, 7), (1, 4, 6), (3, 4, 9)]


@pytest.mark.parametrize("objective", ["center_mean", "pair_sum"])
@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_and_loss_equal_the_oracle(shape, objective):
    model, batch = make_model(), random_batch(*shape)
    rows, tally = bmm.gradients(model, batch, objective=objective)
    answer = oracle.skip_gram_step(
        model.center.weight.detach(), model.context.weight.detach(), batch, objective=objective
    )
    center_VD, context_VD = dense_gradients(rows)
    np.testing.assert_allclose(center_VD, answer.center_VD, atol=2e-6)
    np.testing.assert_allclose(context_VD, answer.context_VD, atol=2e-6)
    assert tally.centers.item() == len(answer.losses)
    assert tally.loss_sum.item() == pytest.approx(sum(answer.losses), rel=1e-6)


@pytest.mark.parametrize("objective", ["center_mean", "pair_sum"])
@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_equal_autograds(shape, objective):
    model, batch = make_model(), random_batch(*shape, seed=1)
    loss = masked_bce(
        model(batch.centers_BT, batch.targets_BL), batch.labels_BTL, batch.weights_BTL
    )
    scale_BT = loss.weight_BT if objective == "pair_sum" else 1.0
    (loss.loss_BT * scale_BT).sum().backward()
    rows, _ = bmm.gradients(model, batch, objective=objective)
    for mine_VD, table in zip(dense_gradients(rows), model.parameters(), strict=True):
        assert torch.allclose(mine_VD, table.grad, atol=1e-6)


def test_the_loss_of_many_centers_is_summed_in_float64():
    loss = bmm._tally(bmm.CenterLoss(torch.full((1, 2**24 + 8), 0.1), torch.ones(1, 2**24 + 8)))
    expected = float(np.float64(np.float32(0.1)) * (2**24 + 8))
    assert loss.loss_sum.item() == pytest.approx(expected, rel=1e-12)


def two_topics(words=4000, *, room=None):
    """Words 1-5 and words 6-10 live in sentences of their own."""
    rng = np.random.default_rng(0)
    sentences = [rng.integers(1, 6, 8) + 5 * (i % 2) for i in range(words // 8)]
    ids_N = torch.from_numpy(np.concatenate(sentences)).int()
    return SpanText(ids_N, torch.arange(0, words + 1, 8), room)


@pytest.mark.parametrize(
    ("block", "shared", "optimizer", "objective", "lr"),
    [
        (1, None, "adam", "center_mean", 0.02),
        (1, None, "sgd", "pair_sum", 0.02),
        (1, 16, "adagrad", "pair_sum", 0.1),
        (8, 16, "adagrad", "pair_sum", 0.1),
        (8, 16, "sgd", "pair_sum", 0.02),
        (8, 16, "adam", "center_mean", 0.02),
    ],
)
def test_it_finds_planted_neighbors(block, shared, optimizer, objective, lr):
    sampler = make_sampler(
        np.array([0] + [400] * 10), device=torch.device("cpu"), window=3, negatives=5,
        noise_power=0.75, subsample=None, subsample_formula="paper", block=block,
        shared_negatives=shared, avoid_contexts=True, redraw=True,
    )  # fmt: skip
    model = SkipGram(11, 8, init="xavier", generator=seeded())
    updates = make_optimizer(optimizer, model)
    losses = []
    for epoch in range(8):
        sums = np.zeros(2)
        for step in bmm.train_span(
            model, sampler, updates, two_topics(), batch_size=64, objective=objective,
            lr=(lr, lr), streams=Streams(seeded(epoch), seeded(epoch)),
        ):  # fmt: skip
            sums += step.tally.loss_sum.item(), step.tally.centers.item()
        assert step.done == 1.0
        assert sums[1] == 4000
        losses.append(sums[0] / sums[1])
    assert losses[-1] < losses[0] < 0.7
    unit_VD = torch.nn.functional.normalize(model.center.weight.detach()[1:], dim=1)
    similar_VV = unit_VD @ unit_VD.T
    within = (similar_VV[:5, :5].sum() - 5) / 20
    between = similar_VV[:5, 5:].mean()
    assert within > between + 0.5
    assert not model.center.weight[0].any()
    assert not model.context.weight[0].any()


@pytest.mark.parametrize("block", [1, 5])
def test_the_learning_rate_moves_linearly_through_the_span(block):
    rates = []

    class Spy:
        def step(self, parts, *, lr):
            rates.append(lr)

        def state(self):
            return {}

    sampler = make_sampler(
        np.array([0] + [400] * 10), device=torch.device("cpu"), window=3, negatives=5,
        noise_power=0.75, subsample=None, subsample_formula="paper", block=block,
        shared_negatives=16 if block > 1 else None, avoid_contexts=True, redraw=True,
    )  # fmt: skip
    # In blocks, words without a context take their place, and the rate must not run ahead.
    text = two_topics()
    if block > 1:
        borders = text.offsets_S
        text = text._replace(offsets_S=torch.cat([torch.arange(2000), borders[borders >= 2000]]))
    done = [
        step.done
        for step in bmm.train_span(
            SkipGram(11, 8, init="xavier", generator=seeded()), sampler, Spy(),
            text, batch_size=1000, objective="pair_sum", lr=(1.0, 0.5),
            streams=Streams(seeded(), seeded()),
        )
    ]  # fmt: skip
    assert rates == pytest.approx([1.0, 0.875, 0.75, 0.625])
    assert done == pytest.approx([0.25, 0.5, 0.75, 1.0])


def test_mean_loss_is_that_of_the_batches_and_trains_nothing():
    model = make_model()
    before = [table.detach().clone() for table in model.parameters()]
    batches = [random_batch(3, 1, 5, seed) for seed in range(3)]
    answers = [
        oracle.skip_gram_step(*(t.detach() for t in model.parameters()), b, objective="pair_sum")
        for b in batches
    ]
    losses = [loss for answer in answers for loss in answer.losses]
    assert bmm.mean_loss(model, batches) == pytest.approx(np.mean(losses), rel=1e-6)
    assert all(map(torch.equal, before, model.parameters()))
