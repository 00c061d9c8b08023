import math
import mmap
from pathlib import Path

import pytest
import torch

from w2v.model import SkipGram, masked_bce, whole_sum
from w2v.vocab import UNK_ID


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_scores_of_ones_have_the_chapters_shape():
    model = SkipGram(20, 4, init="xavier", generator=seeded())
    centers_BT, targets_BL = torch.ones(2, 1, dtype=torch.int64), torch.ones(2, 4).long()
    assert model(centers_BT, targets_BL).shape == (2, 1, 4)


def test_a_score_is_the_dot_product_of_a_center_and_a_target_of_its_own_block():
    # A distinct value per row: a scrambled order of blocks, centers or targets would show.
    model = SkipGram(6, 2, init="xavier", generator=seeded())
    with torch.no_grad():
        model.center.weight.copy_(torch.tensor([[i, 1.0] for i in range(6)]))
        model.context.weight.copy_(torch.tensor([[10.0**i, 0.5] for i in range(6)]))
    logits_BTL = model(torch.tensor([[1, 2], [3, 4]]), torch.tensor([[0, 1, 2], [3, 4, 5]]))
    expected = [
        [[c * 10.0**t + 0.5 for t in targets] for c in centers]
        for centers, targets in (([1, 2], [0, 1, 2]), ([3, 4], [3, 4, 5]))
    ]
    assert logits_BTL.tolist() == expected


def test_the_chapters_masked_loss():
    logits_BTL = torch.tensor([[[1.1, -2.2, 3.3, -4.4]]] * 2)
    labels_BTL = torch.tensor([[[1.0, 0, 0, 0]], [[0, 1.0, 0, 0]]])
    mask_BTL = torch.tensor([[[1.0] * 4], [[1.0, 1, 0, 0]]])
    loss_BT, weight_BT = masked_bce(logits_BTL, labels_BTL, mask_BTL)
    assert [round(loss, 4) for loss in loss_BT[:, 0].tolist()] == [0.9352, 1.8462]
    assert weight_BT.tolist() == [[4.0], [2.0]]


@pytest.mark.parametrize(
    ("logit", "label", "expected"),
    [
        (0.0, 1.0, math.log(2)),
        (0.0, 0.0, math.log(2)),
        (200.0, 1.0, 0.0),
        (-200.0, 0.0, 0.0),
        (200.0, 0.0, 200.0),
        (-200.0, 1.0, 200.0),
    ],
)
def test_one_score_perfect_worst_and_ignorant(logit, label, expected):
    loss_BT, _ = masked_bce(*(torch.full((1, 1, 1), x) for x in (logit, label, 1.0)))
    assert loss_BT.item() == pytest.approx(expected, abs=1e-6)


def test_masked_loss_equals_torchs_where_everything_counts():
    logits_BTL = torch.randn(3, 2, 5, generator=seeded()) * 4
    labels_BTL = (torch.rand(3, 2, 5, generator=seeded(1)) < 0.5).float()
    expected = torch.nn.functional.binary_cross_entropy_with_logits(
        logits_BTL, labels_BTL, reduction="none"
    ).mean(dim=2)
    loss_BT, _ = masked_bce(logits_BTL, labels_BTL, torch.full((3, 2, 5), 2.5))
    assert torch.allclose(loss_BT, expected, atol=1e-6)


def test_a_center_without_a_scored_target_has_loss_0_and_no_gradient():
    logits_BTL = torch.randn(1, 2, 3, generator=seeded()).requires_grad_()
    weights_BTL = torch.tensor([[[0.0, 0, 0], [1, 1, 1]]])
    loss_BT, weight_BT = masked_bce(logits_BTL, torch.zeros(1, 2, 3), weights_BTL)
    loss_BT.sum().backward()
    assert loss_BT[0, 0] == 0
    assert weight_BT.tolist() == [[0.0, 3.0]]
    assert logits_BTL.grad[0, 0].tolist() == [0.0, 0.0, 0.0]
    assert torch.isfinite(logits_BTL.grad).all()


def test_xavier_fills_both_tables_within_the_bound_and_differently():
    model = SkipGram(1000, 50, init="xavier", generator=seeded())
    bound = math.sqrt(6 / (1000 + 50))
    for table in (model.center.weight, model.context.weight):
        assert table[UNK_ID].tolist() == [0.0] * 50
        assert bound * 0.99 < table.abs().max() <= bound
        assert table[1:].std().item() == pytest.approx(bound / math.sqrt(3), rel=0.02)
    assert not torch.equal(model.center.weight, model.context.weight)


def test_word2vecs_init():
    model = SkipGram(1000, 50, init="word2vec", generator=seeded())
    assert 0.0099 < model.center.weight.abs().max() <= 0.01
    assert not model.context.weight.any()


def test_equal_seeds_give_equal_tables():
    first, second, third = (
        SkipGram(10, 4, init="xavier", generator=seeded(seed)).center.weight for seed in (1, 1, 2)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, third)


def test_tables_lie_in_huge_pages_where_there_are_any():
    enabled = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    if not enabled.exists() or "[never]" in enabled.read_text():
        pytest.skip("no huge pages here")
    SkipGram(100_000, 64, init="xavier", generator=seeded())  # whatever is loaded late is there now
    before = huge_kib()
    model = SkipGram(100_000, 64, init="xavier", generator=seeded())
    assert huge_kib() - before >= 1024 * 2  # of 2 x 25 MB; how many depends on what is free
    assert model.center.weight.data_ptr() % 64 == 0


def huge_kib():
    rollup = Path("/proc/self/smaps_rollup").read_text()
    return int(rollup.partition("AnonHugePages:")[2].split()[0])


def test_advice_that_is_not_taken_does_no_harm(monkeypatch):
    class Refusing(mmap.mmap):
        def madvise(self, *_):
            raise OSError(22, "Invalid argument")

    monkeypatch.setattr("w2v.model.mmap.mmap", Refusing)
    assert SkipGram(3, 2, init="xavier", generator=seeded()).center.weight.shape == (3, 2)


@pytest.mark.parametrize("row_multiple", [1, 16])
def test_rows_may_lie_apart(row_multiple):
    model = SkipGram(5, 6, init="xavier", generator=seeded(), row_multiple=row_multiple)
    plain = SkipGram(5, 6, init="xavier", generator=seeded())
    assert torch.equal(model.center.weight, plain.center.weight)
    assert model.center.weight.stride() == (6 if row_multiple == 1 else 16, 1)
    table_VD = model.context.weight.detach()
    assert whole_sum(table_VD).item() == pytest.approx(table_VD.sum().item(), abs=1e-6)
