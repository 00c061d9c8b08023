"""Vectors as torch's layers: the words' rows, and gradients by hand and by torch's functions."""

import numpy as np
import pytest
import torch
from torch import nn

from w2v.errors import ConfigError
from w2v.vectors import WordVectors

WORDS = ("chip", "intel", "king")
ROWS = np.array([[1, 2], [3, 4], [0, -5]], np.float32)
VECTORS = WordVectors(WORDS, ROWS)
MAKERS = [VECTORS.to_embedding, VECTORS.to_embedding_bag]
PADDING = len(VECTORS)


def gradient(layer, ids):
    """The gradient of the sum of what the layer gives for one sentence, or for one bag."""
    layer(torch.tensor([ids])).sum().backward()
    return layer.weight.grad


def test_ids_are_rows():
    assert VECTORS.ids(["king", "chip", "king"]).tolist() == [2, 0, 2]
    assert VECTORS.ids("chip").tolist() == [0]
    assert VECTORS.ids(["nobody", "king"]).tolist() == [2]
    assert VECTORS.ids(["nobody", "king"], unknown=PADDING).tolist() == [3, 2]
    assert VECTORS.ids((word for word in WORDS), unknown=0).tolist() == [0, 1, 2]
    for nothing in ([], ["nobody"]):
        assert VECTORS.ids(nothing).shape == (0,)
        assert VECTORS.ids(nothing).dtype == np.int64


@pytest.mark.parametrize("make", MAKERS)
def test_row_i_is_that_of_word_i_to_the_bit(make):
    weight = make().weight
    assert weight.dtype == torch.float32
    assert weight.detach().numpy().tobytes() == ROWS.tobytes()
    layer = VECTORS.to_embedding()
    assert layer(torch.from_numpy(VECTORS.ids(["king", "chip"]))).tolist() == [[0, -5], [1, 2]]


@pytest.mark.parametrize("make", MAKERS)
def test_the_layer_has_a_copy(make):
    layer = make(freeze=False)
    with torch.no_grad():
        layer.weight.fill_(7)
    assert VECTORS.matrix.tolist() == ROWS.tolist()


@pytest.mark.parametrize("make", MAKERS)
def test_frozen_rows_get_no_gradient(make):
    frozen = make()
    assert not frozen.weight.requires_grad
    out = frozen(torch.tensor([[0, 1]])).sum() * torch.ones((), requires_grad=True)
    out.backward()
    assert frozen.weight.grad is None
    assert make(freeze=False).weight.requires_grad


def test_gradients_count_the_uses_of_a_row():
    ids = [0, 2, 0]
    assert gradient(VECTORS.to_embedding(freeze=False), ids).tolist() == [[2, 2], [0, 0], [1, 1]]
    bag = VECTORS.to_embedding_bag(freeze=False, mode="sum")
    assert gradient(bag, ids).tolist() == [[2, 2], [0, 0], [1, 1]]
    mean = gradient(VECTORS.to_embedding_bag(freeze=False), ids)
    assert mean.flatten().tolist() == pytest.approx([2 / 3, 2 / 3, 0, 0, 1 / 3, 1 / 3])


def test_scaled_gradients_are_divided_by_the_uses():
    ids = [0, 2, 0]
    scaled = VECTORS.to_embedding(freeze=False, scale_grad_by_freq=True)
    assert gradient(scaled, ids).tolist() == [[1, 1], [0, 0], [1, 1]]


def test_scaled_gradients_of_a_bag_are_right_or_warned_of(caplog):
    """Torch 2.13 divides the last row by the uses of the first."""
    bag = VECTORS.to_embedding_bag(freeze=False, scale_grad_by_freq=True, mode="sum")
    found = gradient(bag, [0, 2, 0]).tolist()
    warned = "issue 190063" in caplog.text
    assert found == ([[1, 1], [0, 0], [0.5, 0.5]] if warned else [[1, 1], [0, 0], [1, 1]])
    caplog.clear()
    VECTORS.to_embedding_bag(scale_grad_by_freq=True)  # frozen: no gradients
    assert not caplog.records


def test_the_padding_behind_all_words_is_zero_and_stays_so():
    layer = VECTORS.to_embedding(freeze=False, padding_idx=PADDING)
    assert layer.weight.shape == (4, 2)
    assert layer.weight[:3].tolist() == ROWS.tolist()
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.5)
    assert gradient(layer, [1, PADDING, PADDING]).tolist() == [[0, 0], [1, 1], [0, 0], [0, 0]]
    optimizer.step()
    assert layer.weight.tolist() == [[1, 2], [2.5, 3.5], [0, -5], [0, 0]]


@pytest.mark.parametrize("mode", ["mean", "sum", "max"])
def test_the_padding_of_a_bag_is_as_if_it_were_not_there(mode):
    bag = VECTORS.to_embedding_bag(freeze=False, mode=mode, padding_idx=PADDING)
    ids = torch.tensor([[2, 2, PADDING], [PADDING] * 3])
    expected = [0, -10] if mode == "sum" else [0, -5]
    assert bag(ids).tolist() == [expected, [0, 0]]
    bag(ids).sum().backward()
    assert bag.weight.grad[PADDING].tolist() == [0, 0]


def test_a_word_can_be_the_padding_and_keeps_its_row():
    layer = VECTORS.to_embedding(freeze=False, padding_idx=1)
    assert layer.weight.tolist() == ROWS.tolist()
    assert gradient(layer, [0, 1]).tolist() == [[1, 1], [0, 0], [0, 0]]


def test_unknown_words_can_be_the_padding():
    layer = VECTORS.to_embedding(padding_idx=PADDING)
    ids = VECTORS.ids(["the", "king"], unknown=layer.padding_idx)
    assert layer(torch.from_numpy(ids)).tolist() == [[0, 0], [0, -5]]


def test_long_rows_are_shortened_when_they_are_looked_up():
    layer = VECTORS.to_embedding(max_norm=2.5)
    assert layer(torch.tensor([1, 0])).tolist() == [
        pytest.approx([1.5, 2.0]),  # half of (3, 4), whose length is 5
        [1, 2],  # short enough
    ]
    assert layer.weight.tolist()[2] == [0, -5]  # not looked up
    sums = VECTORS.to_embedding(max_norm=2.5, norm_type=1.0)
    assert sums(torch.tensor([2])).tolist() == [pytest.approx([0, -2.5])]
    bag = VECTORS.to_embedding_bag(max_norm=2.5, mode="sum")
    assert bag(torch.tensor([[1, 1]])).tolist() == [pytest.approx([3.0, 4.0])]


def test_sparse_gradients_name_the_rows_used():
    for layer in (
        VECTORS.to_embedding(freeze=False, sparse=True),
        VECTORS.to_embedding_bag(freeze=False, sparse=True, mode="sum"),
    ):
        grad = gradient(layer, [2, 0, 2])
        assert grad.is_sparse
        assert grad.coalesce().indices().tolist() == [[0, 2]]
        assert grad.to_dense().tolist() == [[1, 1], [0, 0], [2, 2]]
        torch.optim.SparseAdam(layer.parameters()).step()
        assert layer.weight[1].tolist() == [3, 4]


@pytest.mark.parametrize("mode", ["mean", "sum", "max"])
def test_a_bag_equals_torchs_function(mode):
    bag = VECTORS.to_embedding_bag(mode=mode, include_last_offset=True)
    ids, offsets = torch.tensor([1, 2, 0, 0]), torch.tensor([0, 2, 2, 4])
    table = torch.tensor(ROWS.tolist())
    expected = nn.functional.embedding_bag(ids, table, offsets[:-1], mode=mode)
    assert bag(ids, offsets).tolist() == expected.tolist()
    assert bag(ids, offsets)[1].tolist() == [0, 0]  # an empty bag


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"padding_idx": 4}, "padding_idx must be between 0 and 3, which is a new row of zeros"),
        ({"padding_idx": -1}, "padding_idx must be between 0 and 3"),
        ({"max_norm": 0.0}, "max_norm must be above 0, got 0.0"),
        ({"max_norm": float("nan")}, "max_norm must be above 0"),
        ({"norm_type": -2.0}, "norm_type must be above 0"),
        ({"sparse": True, "scale_grad_by_freq": True}, "not both"),
    ],
)
def test_what_cannot_be_is_refused_at_once(make, settings, message):
    with pytest.raises(ConfigError, match=message):
        make(**settings)


def test_what_a_bag_cannot_do():
    for setting in ("sparse", "scale_grad_by_freq"):
        with pytest.raises(ConfigError, match=f"torch has no {setting} with mode='max'"):
            VECTORS.to_embedding_bag(mode="max", **{setting: True})
    with pytest.raises(ConfigError, match="mode must be one of mean, sum, max; got 'median'"):
        VECTORS.to_embedding_bag(mode="median")
