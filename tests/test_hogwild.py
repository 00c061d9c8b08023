from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
import oracle
import pytest
import torch

from w2v.batches import blocked_batch
from w2v.draws import Sampler, make_sampler
from w2v.kernels import bmm, hogwild
from w2v.kernels.compiled import compile_loop
from w2v.kernels.pieces import Draws, empty_draws
from w2v.kernels.shapes import Buffers, Shape, Tables, aligned_zeros, make_buffers
from w2v.kernels.tiles import LANES
from w2v.model import SkipGram
from w2v.optimizers import SGD, RowAdagrad
from w2v.restraints import Frozen, Restraints

# Each shape is compiled once, which takes seconds: few, used again and again.
BASE = Shape(7, 2, 2, 3, 5, avoid_contexts=True, center_mean=False, adagrad=False)
PAIRS = BASE._replace(negatives=2, center_mean=True)
OPEN = BASE._replace(dim=16, window=5, shared_negatives=5, avoid_contexts=False)
ODD = BASE._replace(dim=100, window=1, block=1, shared_negatives=17)
LONG = BASE._replace(dim=1, window=12, block=4, shared_negatives=1, center_mean=True)
EIGHTS = BASE._replace(dim=8, window=3, block=8, shared_negatives=16)
ADAGRAD = BASE._replace(shared_negatives=5, adagrad=True)
ODD_ADAGRAD = Shape(130, 5, 3, 3, 5, avoid_contexts=False, center_mean=True, adagrad=True)
NARROW = [PAIRS, OPEN, ODD, LONG, EIGHTS, ADAGRAD, ODD_ADAGRAD]
WIDE = [
    Shape(130, 12, 2, 17, 5, avoid_contexts=True, center_mean=True, adagrad=False),
    Shape(16, 1, 16, 1, 1, avoid_contexts=False, center_mean=False, adagrad=False),
    Shape(1, 100, 2, 5, 5, avoid_contexts=True, center_mean=True, adagrad=False),
    Shape(17, 2, 1024, 4, 10, avoid_contexts=True, center_mean=True, adagrad=False),
    Shape(33, 12, 16, 17, 5, avoid_contexts=True, center_mean=True, adagrad=True),
    Shape(1, 1, 1, 1, 1, avoid_contexts=True, center_mean=False, adagrad=True),
]


class Stretch(NamedTuple):
    """A run of neighbors, of which those from `first` to `last` are centers."""

    words: int
    first: int
    last: int


def cut(place, size):
    """(begin, end, first, last) of every `size` centers of a place."""
    begin, end, first, last = place
    return [(begin, end, at, min(at + size, last)) for at in range(first, last, size)]


def in_tiles(tile):
    """Stretches of one tile each, full or not, at their beginnings, middles and ends."""
    places = [(2, 0), (3, 1), (9, 0), (9, 4), (9, 8), (4, 2), (7, 3)]
    return tuple(Stretch(words, first, min(first + tile, words)) for words, first in places)


@dataclass
class Case:
    """Words, windows and noise that are given, and the tables that meet them."""

    shape: Shape
    draws: Draws
    num_stretches: int
    model: SkipGram

    def tables(self):
        return [table.detach() for table in self.model.parameters()]

    def whole_rows(self):
        """The tables with what lies between the rows."""
        D = self.shape.padded_dim
        return [table.as_strided((len(table), D), (D, 1)) for table in self.tables()]

    def blocks(self):
        """(begin, end, first, last) of each block, and its noise."""
        stretches = self.draws.stretches_R4[: self.num_stretches].tolist()
        places = [place for stretch in stretches for place in cut(stretch, self.shape.block)]
        yield from zip(places, self.draws.noise_XJ, strict=False)


def make_case(shape, stretches, *, num_words=12, scale=1.0, seed=0, distinct=False):
    """Random words in these stretches; few, so that noise is often a context or the center."""
    rng = np.random.default_rng(seed)
    draws = empty_draws(
        window=shape.window, block=shape.block, shared_negatives=shape.shared_negatives
    )
    deck = rng.permutation(np.arange(1, num_words)).tolist()
    at = block = 0
    for r, (words, first, last) in enumerate(stretches):
        for i in range(at, at + words):
            radius = rng.integers(1, shape.window + 1)
            draws.words_N[i] = deck.pop() if distinct else rng.integers(1, num_words)
            draws.left_N[i], draws.right_N[i] = min(radius, i - at), min(radius, at + words - 1 - i)
        draws.stretches_R4[r] = at, at + words, at + first, at + last
        for _ in range(first, last, shape.block):
            for j in range(shape.shared_negatives):
                draws.noise_XJ[block, j] = deck.pop() if distinct else rng.integers(1, num_words)
            block += 1
        at += words
    generator = torch.Generator().manual_seed(seed)
    model = SkipGram(num_words, shape.dim, init="xavier", generator=generator, row_multiple=LANES)
    for table in model.parameters():
        table.data[1:] = scale * torch.randn(num_words - 1, shape.dim, generator=generator)
    return Case(shape, draws, len(stretches), model)


@cache
def loop_for(shape):
    return compile_loop(shape)


def guarded(buffers):
    """The buffers between walls of NaN, and the walls: who reads or writes there is found out."""
    walls, parts = [], {}
    for name in Buffers._fields:
        part = getattr(buffers, name)
        if part.ndim == 2:
            whole = aligned_zeros(len(part) + 8, part.shape[1])
            whole[:4] = whole[len(part) + 4 :] = np.nan
            walls += [whole[:4], whole[len(part) + 4 :]]
            part = whole[4 : len(part) + 4]
        parts[name] = part
    return Buffers(**parts), walls


def run_loop(case, *, lr, sums=None, frozen=()):
    """Runs the compiled loop; returns the sum of the losses and the number of centers."""
    none = np.zeros(0, np.float32)
    center_VD, context_VD = case.tables()
    sums = [sum_V.numpy() for sum_V in sums] if sums else [none, none]
    marks = [of_V.numpy() for of_V in frozen]
    tables = Tables(center_VD.data_ptr(), context_VD.data_ptr(), *sums, *marks)
    buffers, walls = guarded(make_buffers(case.shape))
    loop_for(case.shape)(case.draws, case.num_stretches, np.float32(lr), tables, buffers)
    assert all(np.isnan(wall).all() for wall in walls)
    return tuple(buffers.tally)


def block_batch(case, place, noise_J, *, block):
    """`blocked_batch` of the words at a place; what is outside of the sentence is <unk>."""
    begin, end, first, last = place
    shape = case.shape
    words_N, left_N, right_N = (torch.from_numpy(part.astype(np.int64)) for part in case.draws[:3])
    at_H = torch.arange(first - shape.window, first + block + shape.window)
    at_T = torch.arange(first, first + block)
    sampler = Sampler(
        *torch.ones(4, 1), shape.window, shape.negatives, block, shape.shared_negatives,
        shape.avoid_contexts, redraw=True,
    )  # fmt: skip
    return blocked_batch(
        torch.where((at_H >= begin) & (at_H < end), words_N[at_H.clamp(begin, end - 1)], 0)[None],
        *(torch.where(at_T < last, part[at_T.clamp(max=last - 1)], 0)[None]
          for part in (left_N, right_N)),
        torch.from_numpy(noise_J.astype(np.int64))[None],
        sampler,
    )  # fmt: skip


def objective_of(shape):
    return "center_mean" if shape.center_mean else "pair_sum"


def assert_same_change(before, mine, others, *, share=1e-5):
    """The changes differ by at most a share of the largest."""
    for first, one, other in zip(before, mine, others, strict=True):
        change = np.asarray(other, float) - np.asarray(first, float)
        assert np.abs(change).max() > 0.001
        off = np.abs(np.asarray(one, float) - np.asarray(other, float))
        assert off.max() <= share * np.abs(change).max()


def copied(tables):
    return [table.clone() for table in tables]


# --- a frozen batch ---------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [0.5, 2.0])
@pytest.mark.parametrize("shape", [PAIRS, OPEN, ODD])
def test_one_tile_is_a_step_of_bmm(shape, scale):
    for seed, stretch in enumerate(in_tiles(shape.tile)):
        case = make_case(shape, [stretch], scale=scale / shape.dim**0.5, seed=seed)
        ((place, noise_J),) = case.blocks()
        before, model = copied(case.tables()), case.model
        batch = block_batch(case, place, noise_J, block=shape.tile)
        rows, tally = bmm.gradients(model, batch, objective=objective_of(shape))
        answer = oracle.skip_gram_step(*before, batch, objective=objective_of(shape))
        expected = copied(before)
        SGD(*expected).step([rows], lr=0.3)
        loss_sum, centers = run_loop(case, lr=0.3)
        assert_same_change(before, case.tables(), expected)
        plain = [b - 0.3 * g for b, g in zip(map(np.float64, before), answer[1:], strict=True)]
        assert_same_change(before, case.tables(), plain)
        assert centers == tally.centers.item()
        assert loss_sum == pytest.approx(tally.loss_sum.item(), rel=1e-6)


def test_scores_far_from_zero():
    """The sigmoid is all but 0 or 1, and the loss as long as the score."""
    for seed in range(8):
        case = make_case(OPEN, [Stretch(9, 4, 6)], seed=seed)
        center_VD, context_VD = case.tables()
        center_VD *= 30 / (center_VD @ context_VD.T).abs().max()
        ((place, noise_J),) = case.blocks()
        before = copied(case.tables())
        batch = block_batch(case, place, noise_J, block=2)
        rows, tally = bmm.gradients(case.model, batch, objective="pair_sum")
        expected = copied(before)
        SGD(*expected).step([rows], lr=0.1)
        loss_sum, _ = run_loop(case, lr=0.1)
        assert_same_change(before, case.tables(), expected)
        assert loss_sum == pytest.approx(tally.loss_sum.item(), rel=1e-6)


def test_adagrad_on_different_words_is_row_adagrad():
    """A row that is used once has one gradient, in a tile as in a batch."""
    for seed, stretch in enumerate(in_tiles(2)):
        case = make_case(ADAGRAD, [stretch], num_words=40, seed=seed, distinct=True)
        ((place, noise_J),) = case.blocks()
        before = copied(case.tables())
        batch = block_batch(case, place, noise_J, block=2)
        rows, _ = bmm.gradients(case.model, batch, objective="pair_sum")
        expected, mine = RowAdagrad(*copied(before)), RowAdagrad(*case.tables())
        for optimizer in (expected, mine):
            for sum_V in optimizer.state().values():
                sum_V += torch.linspace(0.1, 2, 40)
        start = copied(mine.state().values())
        expected.step([rows], lr=0.5)
        run_loop(case, lr=0.5, sums=list(mine.state().values()))
        assert_same_change(before, case.tables(), [expected.center_VD, expected.context_VD])
        assert_same_change(start, mine.state().values(), expected.state().values())


def test_a_block_of_different_words_is_its_tiles_one_after_the_other():
    case = make_case(EIGHTS, [Stretch(13, 2, 10)], num_words=40, scale=0.6, distinct=True)
    ((place, noise_J),) = case.blocks()
    before = copied(case.tables())
    twin = make_case(EIGHTS, [Stretch(13, 2, 10)], num_words=40, scale=0.6, distinct=True)
    for tile in cut(place, 2):
        batch = block_batch(case, tile, noise_J, block=2)
        rows, _ = bmm.gradients(twin.model, batch, objective="pair_sum")
        SGD(*twin.tables()).step([rows], lr=0.1)
    run_loop(case, lr=0.1)
    assert_same_change(before, case.tables(), twin.tables())


def test_loops_of_different_sizes_have_names_of_their_own():
    """numba's cache has a file for each name, and two processes may write to it at once."""
    names = {
        compile_loop(Shape(dim, 2, 2, 5, 5, True, False, False)).__qualname__ for dim in (8, 9, 16)
    }
    assert len(names) == 3


# --- frozen rows ------------------------------------------------------------------------------

FROZEN_CENTERS = PAIRS._replace(frozen_centers=True)
FROZEN_ROWS = FROZEN_CENTERS._replace(frozen_contexts=True)
FROZEN_ADAGRAD = ADAGRAD._replace(frozen_centers=True, frozen_contexts=True)
HARD = torch.tensor([-0.0, 1e-41, -1e-41])  # an addition of zero, or a flush, would change them


def marked(shape, num_words, seed):
    """Two thirds of the words frozen as centers, and others as contexts, where the shape has it."""
    generator = torch.Generator().manual_seed(seed)
    center_V, context_V = torch.rand(2, num_words, generator=generator) < 0.6
    return center_V & shape.frozen_centers, context_V & shape.frozen_contexts


@pytest.mark.parametrize("shape", [FROZEN_CENTERS, FROZEN_ROWS])
def test_of_a_tile_the_rows_that_are_not_frozen_take_the_step_of_bmm(shape):
    for seed, stretch in enumerate(in_tiles(shape.tile)):
        case = make_case(shape, [stretch], scale=1 / shape.dim**0.5, seed=seed)
        ((place, noise_J),) = case.blocks()
        before, frozen = copied(case.tables()), marked(shape, 12, seed)
        batch = block_batch(case, place, noise_J, block=shape.tile)
        rows, tally = bmm.gradients(case.model, batch, objective=objective_of(shape))
        expected = copied(before)
        SGD(*expected).step([rows], lr=0.3)
        for table, was, frozen_V in zip(expected, before, frozen, strict=True):
            table[frozen_V] = was[frozen_V]
        loss_sum, _ = run_loop(case, lr=0.3, frozen=frozen)
        assert loss_sum == pytest.approx(tally.loss_sum.item(), rel=1e-6)
        for was, now, other, frozen_V in zip(before, case.tables(), expected, frozen, strict=True):
            assert torch.equal(now[frozen_V], was[frozen_V])
            assert torch.allclose(now, other, atol=1e-5)


def test_frozen_contexts_change_nothing_for_those_that_are_not():
    """Steps that are taken apart from the products are the steps that are taken at once."""
    for seed in range(3):
        stretches = [Stretch(60, 0, 60), Stretch(9, 2, 7)]
        free = make_case(FROZEN_CENTERS, stretches, seed=seed)
        apart = make_case(FROZEN_ROWS, stretches, seed=seed)
        nothing = [torch.zeros(12, dtype=torch.bool)] * 2
        before = copied(free.tables())
        loss_sums = [run_loop(case, lr=0.05, frozen=nothing)[0] for case in (free, apart)]
        assert loss_sums[0] == pytest.approx(loss_sums[1], rel=1e-5)
        assert_same_change(before, free.tables(), apart.tables(), share=1e-4)


@pytest.mark.parametrize("shape", [FROZEN_CENTERS, FROZEN_ROWS, FROZEN_ADAGRAD])
def test_frozen_rows_keep_their_bytes_and_the_others_move(shape):
    case = make_case(shape, [Stretch(300, 0, 300), Stretch(40, 3, 33)], scale=0.5)
    frozen = marked(shape, 12, seed=1)
    for table in case.tables():
        table[1:, :3] = HARD
    before = copied(case.tables())
    sums = [torch.full((12,), 1e-10) for _ in range(2)] if shape.adagrad else None
    run_loop(case, lr=0.1, sums=sums, frozen=frozen)
    for was, now, frozen_V in zip(before, case.tables(), frozen, strict=True):
        assert now[frozen_V].numpy().tobytes() == was[frozen_V].numpy().tobytes()
        assert (now != was).any(dim=1)[1:][~frozen_V[1:]].all()
        assert torch.isfinite(now).all()
    for sum_V, frozen_V in zip(sums or (), frozen, strict=False):
        assert (sum_V[1:] > 1e-9).tolist() == (~frozen_V[1:]).tolist()


@pytest.mark.parametrize("optimizer", [SGD, RowAdagrad])
def test_it_is_compiled_for_the_tables_that_have_frozen_rows(optimizer, monkeypatch):
    shapes = []
    monkeypatch.setattr(hogwild, "compile_loop", lambda shape: shapes.append(shape) or print)
    monkeypatch.setattr(hogwild.Hogwild, "train_piece", lambda *_, **__: None)
    case = make_case(EIGHTS, [Stretch(3, 0, 3)])
    sampler = make_sampler(
        np.ones(12, np.int64), window=3, negatives=5, noise_power=0.75, subsample=None,
        subsample_formula="paper", block=8, shared_negatives=16, avoid_contexts=True, redraw=True,
        device=torch.device("cpu"),
    )  # fmt: skip
    none_V, some_V = torch.zeros(12, dtype=torch.bool), torch.arange(12) == 3
    for frozen in (None, Frozen(none_V, none_V), Frozen(some_V, none_V), Frozen(some_V, some_V)):
        hogwild.prepare(
            case.model, sampler, optimizer(*case.tables()), batch_size=None, lr=0.1,
            objective="pair_sum", restraints=Restraints(frozen),
        )  # fmt: skip
    assert [shape[-2:] for shape in shapes] == [
        (False, False), (False, False), (True, False), (True, True)
    ]  # fmt: skip


@pytest.mark.parametrize("rules", [{"max_norm": 1.0}, {"scale_grad_by_freq": True}])
def test_restraints_on_steps_are_refused(rules):
    case = make_case(EIGHTS, [Stretch(3, 0, 3)])
    sampler = Sampler(*torch.ones(4, 1), 3, 5, 8, 16, avoid_contexts=True, redraw=True)
    with pytest.raises(ValueError, match="no steps"):
        hogwild.prepare(
            case.model, sampler, SGD(*case.tables()), batch_size=None, lr=0.1,
            objective="pair_sum", restraints=Restraints(**rules),
        )  # fmt: skip
