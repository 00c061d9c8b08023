"""The same code on a CUDA device: equal to the CPU within rounding. Skipped where there is none."""

import numpy as np
import pytest
import torch
from test_bmm import D, V, dense_gradients, random_batch, two_topics

from w2v.draws import SpanText, Streams, make_sampler
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


@pytest.mark.parametrize("block", [1, 8])
def test_it_learns_on_the_gpu(block):
    cuda = torch.device("cuda")
    sampler = make_sampler(
        np.array([0] + [400] * 10), device=cuda, window=3, negatives=5, noise_power=0.75,
        subsample=0.05, subsample_formula="paper", block=block,
        shared_negatives=16 if block > 1 else None, avoid_contexts=True, redraw=block == 1,
    )  # fmt: skip
    model = SkipGram(11, 8, init="xavier", generator=torch.Generator().manual_seed(0)).to(cuda)
    text = SpanText(*(part.to(cuda) for part in two_topics()[:2]))
    optimizer, losses = make_optimizer("adagrad", model), []
    for epoch in range(8):
        streams = Streams(*(torch.Generator(cuda).manual_seed(epoch) for _ in range(2)))
        sums = [
            (step.tally.loss_sum.item(), step.tally.centers.item())
            for step in bmm.train_span(
                model, sampler, optimizer, text,
                batch_size=64, objective="pair_sum", lr=(0.1, 0.1), streams=streams,
            )
        ]  # fmt: skip
        losses.append(sum(loss for loss, _ in sums) / sum(centers for _, centers in sums))
    assert losses[-1] < losses[0] < 0.7
    assert not model.center.weight[0].any()
