"""The same code on a CUDA device: equal to the CPU within rounding. Skipped where there is none."""

import numpy as np
import pytest
import torch
from test_bmm import D, V, dense_gradients, random_batch, two_topics

from w2v.draws import SpanText, Streams, make_sampler
from w2v.feed import Feed
from w2v.kernels import bmm
from w2v.model import SkipGram
from w2v.optimizers import make_optimizer
from w2v.sentences import Sentences

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device"),
]

CUDA = torch.device("cuda")


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


def sampler_on_the_gpu(block, *, redraw=True):
    return make_sampler(
        np.array([0] + [400] * 10), device=CUDA, window=3, negatives=5, noise_power=0.75,
        subsample=0.05, subsample_formula="paper", block=block,
        shared_negatives=16 if block > 1 else None, avoid_contexts=True, redraw=redraw,
    )  # fmt: skip


def streams(seed):
    return Streams(*(torch.Generator(CUDA).manual_seed(seed + part) for part in (0, 1000)))


def text_on_the_gpu():
    return SpanText(*(part.to(CUDA) for part in two_topics()[:2]), room=3600)


KERNELS = [("bmm", 1, "adam"), ("bmm", 8, "adagrad"), ("bmm", 8, "sgd")]
KERNELS += [("triton", 8, "adagrad"), ("triton", 8, "sgd")]
RATES = {"adam": 0.02, "adagrad": 0.1, "sgd": 0.02}


def prepared(kernel, block, optimizer, *, redraw=True):
    """A model and its trainer: the step of `bmm` is recorded, the program of `triton` compiled."""
    module = pytest.importorskip(f"w2v.kernels.{kernel}")
    model = SkipGram(
        11, 8, init="xavier", generator=torch.Generator().manual_seed(0),
        row_multiple=module.KERNEL.row_multiple,
    ).on(CUDA)  # fmt: skip
    before = [table.detach().clone() for table in model.parameters()]
    updates = make_optimizer(optimizer, model)
    train_span = module.prepare(
        model, sampler_on_the_gpu(block, redraw=redraw), updates, batch_size=64,
        objective="pair_sum", lr=RATES[optimizer],
    )  # fmt: skip
    assert all(map(torch.equal, before, model.parameters()))
    assert all(not state.any() for state in updates.state().values() if state.dim() == 0)
    return model, train_span


@pytest.mark.parametrize(("kernel", "block", "optimizer"), KERNELS)
def test_it_learns_on_the_gpu(kernel, block, optimizer):
    model, train_span = prepared(kernel, block, optimizer)
    lr, losses = RATES[optimizer], []
    for epoch in range(8):
        steps = list(train_span(text_on_the_gpu(), lr=(lr, lr), streams=streams(epoch)))
        centers = sum(step.tally.centers.item() for step in steps)
        losses.append(sum(step.tally.loss_sum.item() for step in steps) / centers)
        assert steps[-1].done == 1.0
    assert losses[-1] < losses[0] < 0.7
    assert not model.center.weight[0].any()


@pytest.mark.parametrize(("kernel", "block", "optimizer"), KERNELS)
def test_nothing_waits_for_the_gpu(kernel, block, optimizer):
    _, train_span = prepared(kernel, block, optimizer)
    text = text_on_the_gpu()
    list(train_span(text, lr=(0.01, 0.01), streams=streams(0)))
    drawn = streams(1)
    torch.cuda.set_sync_debug_mode("error")
    try:
        told = list(train_span(text, lr=(0.01, 0.005), streams=drawn))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert sum(step.tally.centers.item() for step in told) > 1000


def test_replayed_steps_draw_anew_in_every_span_and_the_same_from_the_same_seed():
    """The generator of a recorded step is seeded by the span."""
    losses = {}
    for name, seeds in (("first", (0, 1)), ("again", (0, 1)), ("other", (0, 2))):
        _, train_span = prepared("bmm", 8, "adagrad")
        told = [
            step.tally.loss_sum.item()
            for seed in seeds
            for step in train_span(text_on_the_gpu(), lr=(1e-6, 1e-6), streams=streams(seed))
        ]
        losses[name] = sum(told[-1:])
    assert losses["first"] == pytest.approx(losses["again"], rel=1e-4)
    assert losses["first"] != pytest.approx(losses["other"], rel=1e-4)


def test_a_text_streams_to_the_gpu_as_it_would_lie_there():
    ids_N = np.random.default_rng(0).integers(1, 11, 5000).astype(np.int32)
    sentences = Sentences(ids_N, np.arange(0, 5001, 10))
    feeds = [
        Feed(
            sentences, max_words=700, keep_prob_V=np.ones(11, np.float32), device=CUDA,
            resident=resident,
        )
        for resident in (True, False)
    ]  # fmt: skip
    for number in (0, 7, 3, 3, 1, 2, 5):
        resident, streamed = (feed[number] for feed in feeds)
        assert torch.equal(resident.ids_N, streamed.ids_N)
        assert torch.equal(resident.offsets_S, streamed.offsets_S)
        assert resident.room == streamed.room == len(resident.ids_N)
