"""Rows that are held back, by the kernel that knows every restraint, against torch's own layers."""

import numpy as np
import pytest
import torch
from test_bmm import random_batch, seeded, two_topics
from test_fixed import NeverWait, streams_of

from w2v.batches import Batch
from w2v.draws import make_sampler
from w2v.kernels import bmm
from w2v.model import KnownRows, SkipGram, masked_bce
from w2v.optimizers import RowGradients, make_optimizer
from w2v.restraints import Frozen, Restrainer, Restraints, frozen_rows

V, D, LR = 12, 6, 0.3
RULES = [
    {"max_norm": 1.5},
    {"scale_grad_by_freq": True},
    {"max_norm": 1.5, "scale_grad_by_freq": True},
]


def make_model(vocab_size=V, dim=D):
    model = SkipGram(vocab_size, dim, init="xavier", generator=seeded())
    with torch.no_grad():
        for table in model.parameters():
            table *= 3
    return model


def tables(model):
    return [model.center.weight.detach(), model.context.weight.detach()]


def padded_batch(*shape, seed):
    """A batch whose last two targets are padding in each block."""
    batch = random_batch(*shape, seed=seed)
    batch.targets_BL[:, -2:] = 0
    batch.weights_BTL[:, :, -2:] = 0.0
    return batch


def torch_step(layers, optimizer, step):
    """What autograd does with `nn.Embedding`; all batches of a step are one lookup of a layer."""
    centers = layers[0](torch.cat([batch.centers_BT.flatten() for batch in step]))
    targets = layers[1](torch.cat([batch.targets_BL.flatten() for batch in step]))
    loss = torch.zeros(())
    at_center = at_target = 0
    for batch in step:
        (B, T), L = batch.centers_BT.shape, batch.targets_BL.shape[1]
        center_BTD = centers[at_center : at_center + B * T].view(B, T, D)
        target_BLD = targets[at_target : at_target + B * L].view(B, L, D)
        at_center, at_target = at_center + B * T, at_target + B * L
        logits_BTL = center_BTD @ target_BLD.mT
        scored = masked_bce(logits_BTL, batch.labels_BTL, batch.weights_BTL)
        loss = loss + (scored.loss_BT * scored.weight_BT).sum()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


@pytest.mark.parametrize("rules", RULES, ids=str)
@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_they_mean_what_they_mean_to_torchs_embedding(rules, name, monkeypatch):
    steps = [
        (padded_batch(5, 1, 7, seed=1), padded_batch(3, 1, 9, seed=2)),  # textbook, in two lengths
        (padded_batch(3, 4, 9, seed=3),),  # centers that share their targets
        (padded_batch(4, 2, 6, seed=4),),
    ]
    model = make_model()
    layers = [
        torch.nn.Embedding(V, D, padding_idx=0, _weight=table.clone(), **rules)
        for table in tables(model)
    ]
    kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[name]
    reference = kind([layer.weight for layer in layers], lr=LR)
    for step in steps:
        torch_step(layers, reference, step)
    monkeypatch.setattr(bmm, "steps", lambda *_, **__: steps)
    trained = bmm.train_span(
        model, sampler_of(), make_optimizer(name, model), two_topics(8), batch_size=8,
        objective="pair_sum", lr=(LR, LR), streams=streams_of(0), restraints=Restraints(**rules),
    )  # fmt: skip
    before = [table.clone() for table in tables(model)]
    assert len(list(trained)) == 3
    for mine, layer, was in zip(tables(model), layers, before, strict=True):
        assert torch.allclose(mine, layer.weight, atol=1e-6)
        assert not torch.allclose(mine, was, atol=0.1)


def test_long_rows_are_shortened_where_they_are_used_and_short_ones_keep_their_bytes():
    model, batch = make_model(), padded_batch(3, 2, 5, seed=0)
    before = [table.clone() for table in tables(model)]
    Restrainer(Restraints(max_norm=1.0), model).shorten([batch])
    for mine, was, rows in zip(tables(model), before, batch[:2], strict=True):
        used_V = torch.isin(torch.arange(V), rows)
        long_V = was.norm(dim=1) > 1.0
        changed_V = (mine != was).any(dim=1)
        assert changed_V.tolist() == (used_V & long_V).tolist()
        assert 0 < changed_V.sum() < long_V.sum()
        assert torch.allclose(mine[changed_V].norm(dim=1), torch.ones(()))


def test_a_place_counts_whether_or_not_it_is_scored():
    rows, uses = torch.tensor([3, 3, 3, 4, 0, 0]), [3.0, 3.0, 3.0, 1.0, 2.0, 2.0]
    ones_ND = torch.ones(6, D)
    parts = [
        RowGradients(rows[:4], ones_ND[:4].clone(), rows[:2], ones_ND[:2].clone()),
        RowGradients(rows[4:], ones_ND[4:].clone(), rows[2:], ones_ND[2:].clone()),
    ]
    step = [
        Batch(part.center_rows_N, part.context_rows_M, labels_BTL=None, weights_BTL=None)
        for part in parts
    ]
    restrainer = Restrainer(Restraints(scale_grad_by_freq=True), make_model())
    for _ in range(2):  # the counts of one step are forgotten in the next
        for part in parts:
            part.center_ND.fill_(1.0)
            part.context_MD.fill_(1.0)
        restrainer.share(parts, step)
        for shared_ND in (
            torch.cat([part.center_ND for part in parts]),
            torch.cat([part.context_MD for part in parts]),
        ):
            assert torch.allclose(1 / shared_ND[:, 0], torch.tensor(uses))


# --- frozen rows ------------------------------------------------------------------------------


def test_which_rows_are_frozen():
    ids_N, rows_ND = torch.tensor([2, 5]), torch.zeros(2, D)
    both, centers = KnownRows(ids_N, rows_ND, rows_ND), KnownRows(ids_N, rows_ND, None)
    assert frozen_rows("none", both, vocab_size=7) is None

    def marked(freeze, known):
        return [of_V.nonzero()[:, 0].tolist() for of_V in frozen_rows(freeze, known, vocab_size=7)]

    assert marked("pretrained", both) == [[2, 5], [2, 5]]
    assert marked("pretrained", centers) == [[2, 5], []]
    assert marked("all", both) == [[0, 1, 2, 3, 4, 5, 6], []]


def sampler_of(*, block=1, shared=None, redraw=True):
    return make_sampler(
        np.array([0] + [400] * (V - 2) + [1]), device=torch.device("cpu"), window=3, negatives=5,
        noise_power=0.75, subsample=None, subsample_formula="paper", block=block,
        shared_negatives=shared, avoid_contexts=True, redraw=redraw,
    )  # fmt: skip


def marks(*ids):
    return torch.isin(torch.arange(V), torch.tensor(ids, dtype=torch.int64))


FROZEN = {
    "both": Frozen(marks(2, 5, 7), marks(2, 3)),
    "centers": Frozen(marks(1, 2, 3, 4, 9), marks()),
    "all centers": Frozen(marks(*range(V)), marks()),
}


def hard_bytes(model):
    """Frozen rows with numbers that an addition of zero or a flushed subnormal would change."""
    with torch.no_grad():
        for table in model.parameters():
            table[2, :3] = torch.tensor([-0.0, 1e-41, -1e-41])


def trained(frozen, optimizer, *, steady, block, batch_size):
    """The tables before and after; steadily as on a GPU, without recording."""
    model = make_model()
    hard_bytes(model)
    before = [table.clone() for table in tables(model)]
    sampler = sampler_of(block=block, shared=16 if block > 1 else None)
    how = {
        "batch_size": batch_size, "objective": "pair_sum", "restraints": Restraints(frozen)
    }  # fmt: skip
    updates = make_optimizer(optimizer, model)
    text = two_topics(400, room=410 if steady else None)
    if steady:
        steps = bmm.SteadySteps(model, sampler, updates, most_words=410, **how)
        train = steps.train_span
    else:
        train = bmm.prepare(model, sampler, updates, lr=LR, **how)
    for epoch in range(2):
        list(train(text, lr=(0.1, 0.1), streams=streams_of(epoch)))
    return before, tables(model)


def bytes_of(table, rows_V):
    return table[rows_V].numpy().tobytes()


@pytest.mark.parametrize("block", [1, 8])
@pytest.mark.parametrize(
    ("optimizer", "steady", "batch_size"),
    [
        *((name, steady, 40) for name in ("sgd", "adagrad", "adam") for steady in (False, True)),
        ("sgd", False, None),  # steadied
    ],
)
@pytest.mark.parametrize("which", FROZEN)
def test_frozen_rows_keep_their_bytes_and_the_others_move(
    which, optimizer, steady, batch_size, block
):
    frozen = FROZEN[which]
    before, after = trained(frozen, optimizer, steady=steady, block=block, batch_size=batch_size)
    for was, now, frozen_V in zip(before, after, frozen, strict=True):
        assert bytes_of(now, frozen_V) == bytes_of(was, frozen_V)
        free_V = ~frozen_V & (torch.arange(V) > 0) & (torch.arange(V) < V - 1)
        assert (now != was).any(dim=1)[free_V].all()
        assert not now[0].any()


@pytest.mark.parametrize("optimizer", ["sgd", "adagrad", "adam"])
def test_rows_that_may_move_do_so_as_if_the_frozen_ones_were_put_back(optimizer):
    """A frozen row is one whose gradient is zero: nothing else changes."""
    frozen = FROZEN["both"]
    model, twin = make_model(), make_model()
    restrainer = Restrainer(Restraints(frozen), model)
    updates, expected = make_optimizer(optimizer, model), make_optimizer(optimizer, twin)
    for seed in range(4):
        batch = padded_batch(4, 3, 8, seed=seed)
        rows, _ = bmm.gradients(model, batch, objective="pair_sum")
        updates.step([restrainer.withhold(rows)], lr=0.1)
        was = [table.clone() for table in tables(twin)]
        rows, _ = bmm.gradients(twin, batch, objective="pair_sum")
        expected.step([rows], lr=0.1)
        for table, old, frozen_V in zip(tables(twin), was, frozen, strict=True):
            table[frozen_V] = old[frozen_V]
    for mine, other in zip(tables(model), tables(twin), strict=True):
        assert torch.allclose(mine, other, atol=1e-6)


def test_frozen_rows_are_not_shortened():
    frozen = FROZEN["both"]
    model, batch = make_model(), padded_batch(9, 2, 9, seed=0)
    before = [table.clone() for table in tables(model)]
    Restrainer(Restraints(frozen, max_norm=0.1), model).shorten([batch])
    for was, now, frozen_V in zip(before, tables(model), frozen, strict=True):
        assert bytes_of(now, frozen_V) == bytes_of(was, frozen_V)
        assert (now != was).any()


def test_nothing_waits_for_the_device():
    model, batch = make_model(), padded_batch(4, 2, 6, seed=0)
    restrainer = Restrainer(Restraints(FROZEN["both"], 0.5, scale_grad_by_freq=True), model)
    rows, _ = bmm.gradients(model, batch, objective="pair_sum")
    with NeverWait():
        restrainer.shorten([batch])
        restrainer.share([rows], [batch])
        restrainer.withhold(rows)


def test_rows_that_share_their_gradient_are_not_steadied_too():
    for shares in (False, True):
        model = make_model()
        updates = make_optimizer("sgd", model)
        bmm.prepare(
            model, sampler_of(block=8, shared=16), updates, batch_size=None, lr=0.1,
            objective="pair_sum", restraints=Restraints(scale_grad_by_freq=shares),
        )  # fmt: skip
        assert (updates.factors is None) == shares
