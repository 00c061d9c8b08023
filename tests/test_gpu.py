"""The same code on a CUDA device: equal to the CPU within rounding. Skipped where there is none."""

import pytest
import torch
from test_bmm import D, V, dense_gradients, random_batch

from w2v.kernels import bmm
from w2v.model import SkipGram
from w2v.optimizers import make_optimizer

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device"),
]


def model_on(device):
    return SkipGram(V, D, init="xavier", generator=torch.Generator().manual_seed(0)).to(device)


@pytest.mark.parametrize("optimizer", ["adam", "sgd", "adagrad"])
def test_steps_on_the_gpu_equal_those_on_the_cpu(optimizer):
    models = [model_on(device) for device in ("cpu", "cuda")]
    updates = [make_optimizer(optimizer, model) for model in models]
    for seed in range(5):
        batch = random_batch(6, 4, 9, seed)
        for model, update in zip(models, updates, strict=True):
            there = type(batch)(*(part.to(model.center.weight.device) for part in batch))
            rows, _ = bmm.gradients(model, there, objective="pair_sum")
            update.step([rows], lr=0.05)
    for mine, theirs in zip(*(model.parameters() for model in models), strict=True):
        assert torch.allclose(mine, theirs.cpu(), atol=1e-4)


def test_gradients_on_the_gpu_equal_those_on_the_cpu():
    batch = random_batch(6, 4, 9)
    found = []
    for device in ("cpu", "cuda"):
        there = type(batch)(*(part.to(device) for part in batch))
        rows, tally = bmm.gradients(model_on(device), there, objective="center_mean")
        on_cpu = type(rows)(*(part.cpu() for part in rows))
        found.append((*dense_gradients(on_cpu), tally.loss_sum.cpu()))
    for mine, theirs in zip(*found, strict=True):
        assert torch.allclose(mine, theirs, rtol=1e-3, atol=1e-5)
