import pytest
import torch

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
