import numpy as np
import pytest
import torch
from test_bmm import seeded, two_topics

from w2v.draws import Streams, make_sampler
from w2v.kernels import bmm
from w2v.model import SkipGram
from w2v.optimizers import RowGradients, make_optimizer

V, D, LR = 9, 4, 0.05


def make_model():
    return SkipGram(V, D, init="xavier", generator=torch.Generator().manual_seed(0))


def random_parts(seed):
    """Two parts of a step; rows repeat within and between them."""
    generator = torch.Generator().manual_seed(seed)

    def rows(n):
        return torch.randint(1, V, (n,), generator=generator), torch.randn(
            n, D, generator=generator
        )

    return [RowGradients(*rows(12), *rows(20)), RowGradients(*rows(3), *rows(5))]


def dense(parts):
    """The same gradients as two whole tables."""
    center_VD, context_VD = torch.zeros(V, D), torch.zeros(V, D)
    for part in parts:
        center_VD.index_add_(0, part.center_rows_N, part.center_ND)
        context_VD.index_add_(0, part.context_rows_M, part.context_MD)
    return center_VD, context_VD


def tables(model):
    return [model.center.weight.detach(), model.context.weight.detach()]


@pytest.mark.parametrize(("name", "reference"), [("adam", "Adam"), ("sgd", "SGD")])
def test_it_equals_torchs_step_by_step(name, reference):
    model, twin = make_model(), make_model()
    optimizer = make_optimizer(name, model)
    torch_optimizer = getattr(torch.optim, reference)(twin.parameters(), lr=LR)
    for step in range(6):
        for table, gradient in zip(twin.parameters(), dense(random_parts(step)), strict=True):
            table.grad = gradient
        torch_optimizer.step()
        optimizer.step(random_parts(step), lr=LR)
        for mine, theirs in zip(tables(model), tables(twin), strict=True):
            assert torch.allclose(mine, theirs, atol=1e-6)


def test_row_adagrad_equals_the_formula_on_summed_gradients():
    model = make_model()
    expected = [table.double() for table in tables(make_model())]
    sums = [torch.full((V,), 1e-10, dtype=torch.float64) for _ in expected]
    optimizer = make_optimizer("adagrad", model)
    for step in range(6):
        optimizer.step(random_parts(step), lr=LR)
        for table_VD, sum_V, gradient_VD in zip(
            expected, sums, dense(random_parts(step)), strict=True
        ):
            sum_V += gradient_VD.double().square().mean(dim=1)
            table_VD -= LR * gradient_VD.double() / sum_V.sqrt()[:, None]
        for mine, theirs in zip(tables(model), expected, strict=True):
            assert torch.allclose(mine.double(), theirs, atol=1e-5)


def test_row_adagrad_on_rows_of_one_number_is_torchs_adagrad():
    model, twin = (SkipGram(V, 1, init="xavier", generator=torch.Generator()) for _ in range(2))
    twin.load_state_dict(model.state_dict())
    optimizer = make_optimizer("adagrad", model)
    reference = torch.optim.Adagrad(
        twin.parameters(), lr=LR, eps=0, initial_accumulator_value=1e-10
    )
    rows, gradients = torch.tensor([1, 2, 1, 5]), torch.tensor([[1.0], [2.0], [3.0], [-4.0]])
    for _ in range(3):
        parts = [RowGradients(rows, gradients.clone(), rows, gradients.clone())]
        for table, gradient in zip(twin.parameters(), dense_one(rows, gradients), strict=True):
            table.grad = gradient
        reference.step()
        optimizer.step(parts, lr=LR)
    for mine, theirs in zip(tables(model), tables(twin), strict=True):
        assert torch.allclose(mine, theirs, atol=1e-5)


def dense_one(rows, gradients):
    table = torch.zeros(V, 1).index_add_(0, rows, gradients)
    return table, table.clone()


@pytest.mark.parametrize("name", ["sgd", "adagrad"])
def test_rows_that_were_not_used_keep_their_bytes(name):
    model, before = make_model(), make_model()
    rows, gradient = torch.tensor([2, 2, 3]), torch.ones(3, D)
    parts = [RowGradients(rows, gradient.clone(), rows, gradient.clone())]
    make_optimizer(name, model).step(parts, lr=LR)
    for mine, old in zip(tables(model), tables(before), strict=True):
        changed = (mine != old).any(dim=1).nonzero()[:, 0].tolist()
        assert changed == [2, 3]


@pytest.mark.parametrize("name", ["adam", "sgd", "adagrad"])
def test_its_state_is_all_that_a_twin_needs_to_continue(name):
    model, twin = make_model(), make_model()
    optimizer, twin_optimizer = make_optimizer(name, model), make_optimizer(name, twin)
    for step in range(3):
        optimizer.step(random_parts(step), lr=LR)
    twin.load_state_dict(model.state_dict())
    for key, value in twin_optimizer.state().items():
        value.copy_(optimizer.state()[key])
    for step in range(3, 6):
        optimizer.step(random_parts(step), lr=LR)
        twin_optimizer.step(random_parts(step), lr=LR)
    for mine, theirs in zip(tables(model), tables(twin), strict=True):
        assert torch.equal(mine, theirs)


# --- steadied descent -------------------------------------------------------------------------


def sampler_of(counts):
    return make_sampler(
        np.array(counts), window=3, negatives=5, noise_power=0.75, subsample=None,
        subsample_formula="paper", block=8, shared_negatives=16, avoid_contexts=True, redraw=True,
        device=torch.device("cpu"),
    )  # fmt: skip


@pytest.mark.parametrize(("objective", "weight"), [("pair_sum", 1), ("center_mean", 4 * 6)])
def test_a_row_that_a_step_uses_often_moves_as_far_as_if_it_were_used_less(objective, weight):
    sampler = sampler_of([0, 1000, 100, 10, *[1] * 5])
    model, twin = make_model(), make_model()
    steadied, plain = make_optimizer("sgd", model), make_optimizer("sgd", twin)
    steadied.steady(sampler, centers=200, objective=objective, lr=0.1)
    for factor_V, uses_V in zip(
        steadied.factors, (sampler.center_uses_V, sampler.context_uses_V), strict=True
    ):
        lr_uses_V = 0.1 * 200 * uses_V / weight
        rare_V = lr_uses_V <= 2.0
        assert factor_V[rare_V].tolist() == [1.0] * int(rare_V.sum())
        assert torch.allclose((factor_V * lr_uses_V)[~rare_V], torch.tensor(2.0))
        assert rare_V[0]  # <unk> is not used
    assert (steadied.factors[0] < 1).sum() >= 1
    before = [table.clone() for table in tables(model)]
    for optimizer in (steadied, plain):
        optimizer.step(random_parts(0), lr=LR)
    for factor_V, mine, theirs, was in zip(
        steadied.factors, tables(model), tables(twin), before, strict=True
    ):
        assert torch.allclose(mine - was, factor_V[:, None] * (theirs - was), atol=1e-6)


@pytest.mark.parametrize("steady", [False, True])
def test_steadied_descent_stands_steps_at_which_plain_descent_diverges(steady):
    sampler = sampler_of([0] + [400] * 10)
    model = SkipGram(11, 8, init="xavier", generator=torch.Generator().manual_seed(0))
    train_span = bmm.prepare(
        model, sampler, make_optimizer("sgd", model), objective="pair_sum", lr=0.1,
        batch_size=None if steady else bmm.STEP_CENTERS,
    )  # fmt: skip
    for epoch in range(12):
        for step in train_span(
            two_topics(), lr=(0.1, 0.1), streams=Streams(seeded(epoch), seeded(epoch))
        ):
            loss = step.tally.loss_sum.item() / step.tally.centers.item()
    if steady:
        assert loss < 0.6
    else:
        assert not loss < 2.0  # or NaN
