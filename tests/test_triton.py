"""The triton kernel, run by Triton's interpreter where there is no GPU, against float64 loops."""

import json
import os
import subprocess
import sys
from typing import NamedTuple

import numpy as np
import oracle
import pytest
import torch
from conftest import TINY_SETTINGS
from test_bmm import seeded, two_topics
from test_fixed import NeverWait, streams_of

from w2v.batches import Batch, blocked_batch
from w2v.config import SamplingSection, TrainSection
from w2v.draws import SpanText, make_sampler
from w2v.errors import ConfigError
from w2v.kernels import choice
from w2v.kernels.choice import choose_kernel
from w2v.model import SkipGram
from w2v.optimizers import make_optimizer
from w2v.restraints import Frozen, Restraints

triton = pytest.importorskip("triton", reason="triton is not installed")
kernel = pytest.importorskip("w2v.kernels.triton")

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
V = 1000


class Case(NamedTuple):
    """A few drawn blocks, and the sizes of a run."""

    block: int = 8
    window: int = 3
    shared: int = 16
    dim: int = 12
    negatives: int = 5
    avoid: bool = True
    num_blocks: int = 3
    programs: int = 1
    words: int = 39  # as few as that: targets that are one word, negatives that are contexts


def sampler_of(case, **other):
    sizes = {
        "window": case.window, "block": case.block, "negatives": case.negatives,
        "shared_negatives": case.shared, "avoid_contexts": case.avoid, "noise_power": 0.75,
        "subsample": None, "subsample_formula": "paper", "redraw": True, "device": DEVICE,
    }  # fmt: skip
    return make_sampler(np.array([0] + [400] * (V - 1)), **sizes | other)


def model_of(case, scale=9.0):
    model = SkipGram(V, case.dim, init="xavier", generator=seeded(), row_multiple=kernel.SECTOR)
    with torch.no_grad():
        for table in model.parameters():
            table *= scale  # away from the flat middle of the sigmoid
    return model.on(DEVICE)


def blocks_of(case, *, repeated=True):
    """What `draws` would give, and the batches that `bmm` would make of it."""
    rng = np.random.default_rng(0)
    T, W, N = case.block, case.window, case.num_blocks * case.block
    words_N = rng.integers(1, case.words + 1, N)
    noise_XJ = rng.integers(1, case.words + 1, (case.num_blocks, case.shared))
    if not repeated:
        words = rng.permutation(V - 1) + 1
        words_N, noise_XJ = words[:N], words[N : N + noise_XJ.size].reshape(noise_XJ.shape)
    at_N, border = np.arange(N), max(2, N // 2)  # two sentences
    first_N, end_N = np.where(at_N < border, 0, border), np.where(at_N < border, border, N)
    radius_N = rng.integers(1, W + 1, N)
    left_N = np.minimum(radius_N, at_N - first_N)
    right_N = np.minimum(radius_N, end_N - 1 - at_N)
    left_N[N // 3] = right_N[N // 3] = 0  # a word without contexts
    padded_N = np.pad(words_N, W)
    drawn = [torch.tensor(x) for x in (padded_N, left_N, right_N, noise_XJ)]
    sampler = sampler_of(case)._replace(noise_cdf_V=torch.ones(1))
    batches = [
        blocked_batch(
            drawn[0][None, i * T : i * T + T + 2 * W],
            *(part[None, i * T : i * T + T] for part in drawn[1:3]),
            drawn[3][None, i],
            sampler,
        )
        for i in range(case.num_blocks)
    ]
    return [part.int().to(DEVICE) for part in drawn], batches


def plain_training(case, model, batches, *, objective, lr, sums, factors, tile, frozen=None):
    """Block after block in float64; of a block, `tile` targets after the other.

    With Adagrad every use of a row takes a step of its own. Returns tables and losses.
    """
    center_VD, context_VD = (table.detach().cpu().double().numpy() for table in model.parameters())
    frozen_centers_V, frozen_contexts_V = frozen or np.zeros((2, V), bool)
    losses, stretches = [], np.arange(case.programs + 1) * len(batches) // case.programs

    def step(table_VD, words, gradient_ND, sum_V, factor_V, rate, frozen_V):
        for word, gradient_D in zip(words, gradient_ND, strict=True):
            if frozen_V[word]:
                continue
            if sums is not None and gradient_D.any():
                sum_V[word] += np.mean(gradient_D**2)
                gradient_D = gradient_D / np.sqrt(sum_V[word])
            table_VD[word] -= rate * factor_V[word] * gradient_D

    for i, batch in enumerate(batches):
        begin = stretches[stretches <= i].max()
        end = stretches[stretches > i].min()
        rate = lr[0] + (lr[1] - lr[0]) * (i - begin) / (end - begin)
        centers_T, targets_L, labels_TL, weights_TL = (np.asarray(part[0]) for part in batch)
        total_T = weights_TL.sum(axis=1).astype(float)
        loss_T, scored_T = np.zeros(len(total_T)), total_T > 0
        scale_T = np.where(scored_T, total_T, 1)
        for first in range(0, len(targets_L), tile):
            some = slice(first, first + tile)
            part_T = weights_TL[:, some].sum(axis=1).astype(float)
            local = Batch(
                np.arange(len(centers_T))[None], np.arange(len(targets_L[some]))[None],
                labels_TL[None, :, some], weights_TL[None, :, some].astype(float),
            )  # fmt: skip
            slopes = local.weights_BTL / (scale_T[:, None] if objective == "center_mean" else 1)
            rows_TD, rows_LD = center_VD[centers_T], context_VD[targets_L[some]]
            answer = oracle.skip_gram_step(
                rows_TD, rows_LD, local._replace(weights_BTL=slopes), objective="pair_sum"
            )
            means = oracle.skip_gram_step(rows_TD, rows_LD, local, objective="pair_sum").losses
            loss_T[part_T > 0] += np.array(means) * part_T[part_T > 0]
            center_sum_V, context_sum_V = sums or (None, None)
            center_factor_V, context_factor_V = factors or np.ones((2, V))
            step(
                center_VD, centers_T, answer.center_VD, center_sum_V, center_factor_V, rate,
                frozen_centers_V,
            )  # fmt: skip
            step(
                context_VD, targets_L[some], answer.context_VD, context_sum_V, context_factor_V,
                rate, frozen_contexts_V,
            )  # fmt: skip
        losses += (loss_T / scale_T)[scored_T].tolist()
    return center_VD, context_VD, losses


def check(
    case, *, optimizer="sgd", objective="pair_sum", lr=(0.05, 0.02), launch=None, frozen=None
):
    # A GPU adds to one accumulator in no fixed order, and each use sees what was added before.
    drawn, batches = blocks_of(case, repeated=DEVICE.type == "cpu" or optimizer != "adagrad")
    model = model_of(case)
    updates = make_optimizer("sgd" if optimizer == "steady" else optimizer, model)
    sums = None
    if optimizer == "adagrad":
        for state in updates.state().values():
            state.uniform_(0.01, 0.1, generator=torch.Generator(DEVICE).manual_seed(3))
        sums = [state.cpu().double().numpy() for state in updates.state().values()]
    if optimizer == "steady":
        generator = torch.Generator(DEVICE).manual_seed(4)
        updates.factors = tuple(torch.rand(V, generator=generator, device=DEVICE) for _ in range(2))
    launch = (launch or kernel.Launch())._replace(in_flight=case.programs * case.block)
    factors = getattr(updates, "factors", None)
    if factors is not None:
        factors = [factor_V.cpu().double().numpy() for factor_V in factors]
    *tables, losses = plain_training(
        case, model, batches, objective=objective, lr=lr, sums=sums, factors=factors,
        tile=launch.targets, frozen=frozen and [of_V.cpu().numpy() for of_V in frozen],
    )  # fmt: skip
    before = [table.detach().clone() for table in model.parameters()]
    trainer = kernel.Trainer(model, sampler_of(case), updates, objective, launch, frozen=frozen)
    tally = trainer.train(*drawn, num_blocks=case.num_blocks, lr=lr)
    assert tally.centers.item() == len(losses)
    assert tally.loss_sum.item() == pytest.approx(sum(losses), rel=1e-5)
    for expected_VD, table, before_VD in zip(tables, model.parameters(), before, strict=True):
        change_VD = (table.detach() - before_VD).cpu().double().numpy()
        expected = expected_VD - before_VD.cpu().double().numpy()
        assert np.abs(expected).max() > 0.001
        error = np.linalg.norm(change_VD - expected) / np.linalg.norm(expected)
        assert error < 1e-4, error
    if sums is not None:
        for mine, theirs in zip(updates.state().values(), sums, strict=True):
            np.testing.assert_allclose(mine.cpu().numpy(), theirs, rtol=1e-4)
    if frozen is not None:
        for was, now, frozen_V in zip(before, model.parameters(), frozen, strict=True):
            assert torch.equal(now[frozen_V].view(torch.int32), was[frozen_V].view(torch.int32))


# --- one program, block after block -----------------------------------------------------------


@pytest.mark.parametrize("objective", ["center_mean", "pair_sum"])
@pytest.mark.parametrize("optimizer", ["sgd", "steady", "adagrad"])
def test_blocks_equal_the_oracle(optimizer, objective):
    check(Case(), optimizer=optimizer, objective=objective)


@pytest.mark.parametrize("optimizer", ["sgd", "adagrad"])
@pytest.mark.parametrize(
    "case",
    [
        Case(dim=1),
        Case(dim=130, num_blocks=2),  # a row longer than a tile
        Case(dim=300, num_blocks=1),
        Case(block=1, shared=5, num_blocks=9),
        Case(block=3, shared=7, window=1, negatives=1),
        Case(block=20, shared=3, num_blocks=2),
        Case(block=16, shared=24, window=5),
        Case(window=40, num_blocks=2),  # more targets than a tile
        Case(shared=70, num_blocks=2),
        Case(window=30, shared=150, num_blocks=2),
        Case(avoid=False),
        Case(words=4),
        Case(words=1, shared=2),  # every negative is a context
        Case(words=4, avoid=False),
    ],
    ids=str,
)
def test_any_size_equals_the_oracle(case, optimizer):
    check(case, optimizer=optimizer)


@pytest.mark.parametrize("case", [Case(), Case(dim=130, num_blocks=2)], ids=str)
@pytest.mark.parametrize("optimizer", ["sgd", "steady", "adagrad"])
@pytest.mark.parametrize("contexts", [True, False])
def test_frozen_rows_keep_their_bytes_and_the_others_equal_the_oracle(contexts, optimizer, case):
    generator = torch.Generator(DEVICE).manual_seed(5)
    center_V, context_V = torch.rand(2, V, generator=generator, device=DEVICE) < 0.5
    check(case, optimizer=optimizer, frozen=Frozen(center_V, context_V & contexts))


@pytest.mark.parametrize("optimizer", ["sgd", "adagrad"])
def test_tiles_of_other_sizes_change_little(optimizer):
    """The last tile of targets, the last tile of a row: full, half full, alone."""
    for targets, columns in ((16, 16), (32, 64), (64, 32)):
        launch = kernel.Launch(targets=targets, columns=columns)
        check(Case(dim=40, num_blocks=2), optimizer=optimizer, launch=launch)


# --- several programs -------------------------------------------------------------------------


@pytest.mark.skipif(DEVICE.type == "cuda", reason="programs of a GPU run at the same time")
@pytest.mark.parametrize("programs", [2, 3, 7])
def test_programs_share_the_blocks_and_each_moves_through_the_learning_rates(programs):
    check(Case(num_blocks=5, programs=programs))


def test_no_blocks_train_nothing():
    case = Case()
    model = model_of(case)
    before = [table.detach().clone() for table in model.parameters()]
    train_span = kernel.prepare(
        model, sampler_of(case), make_optimizer("sgd", model), batch_size=None, lr=0.1,
        objective="pair_sum",
    )  # fmt: skip
    nothing = SpanText(torch.zeros(0).int().to(DEVICE), torch.zeros(1).long().to(DEVICE))
    (step,) = train_span(nothing, lr=(0.1, 0.1), streams=on_device(streams_of(0)))
    assert (step.tally.loss_sum.item(), step.tally.centers.item()) == (0, 0)
    assert not list(train_span(nothing, lr=(0.1, 0.1), streams=on_device(streams_of(0)), skip=1))
    assert all(map(torch.equal, before, model.parameters()))


def test_the_row_of_unk_and_what_lies_between_rows_stay_zero():
    case = Case(dim=12, num_blocks=4)
    model = model_of(case)
    trainer = kernel.Trainer(
        model, sampler_of(case), make_optimizer("adagrad", model), "pair_sum", kernel.Launch()
    )
    drawn, _ = blocks_of(case)
    trainer.train(*drawn, num_blocks=4, lr=(0.5, 0.5))
    for table in model.parameters():
        whole = table.detach().as_strided((V, 16), (16, 1))
        assert not whole[:, 12:].any()
        assert not whole[0].any()
        assert whole[1:40, :12].all()


# --- spans ------------------------------------------------------------------------------------


def on_device(streams):
    return type(streams)(
        *(torch.Generator(DEVICE).manual_seed(one.initial_seed()) for one in streams)
    )


@pytest.mark.slow
@pytest.mark.parametrize(("optimizer", "lr"), [("sgd", 0.05), ("adagrad", 0.2)])
def test_it_finds_planted_neighbors(optimizer, lr):
    case = Case(block=16, shared=16, dim=8)
    sampler = make_sampler(
        np.array([0] + [400] * 10), window=3, negatives=5, noise_power=0.75, subsample=None,
        subsample_formula="paper", block=16, shared_negatives=16, avoid_contexts=True, redraw=True,
        device=DEVICE,
    )  # fmt: skip
    model = SkipGram(11, 8, init="xavier", generator=seeded(), row_multiple=8).on(DEVICE)
    train_span = kernel.prepare(
        model, sampler, make_optimizer(optimizer, model), batch_size=case.block, lr=lr,
        objective="pair_sum",
    )  # fmt: skip
    losses = []
    for epoch in range(3):
        text = SpanText(*(part.to(DEVICE) for part in two_topics(1200)[:2]), room=1210)
        (step,) = train_span(text, lr=(lr, lr), streams=on_device(streams_of(epoch)))
        assert (step.done, step.tally.centers.item()) == (1.0, 1200)
        losses.append(step.tally.loss_sum.item() / 1200)
    assert losses[-1] < losses[0] < 0.69
    unit_VD = torch.nn.functional.normalize(model.center.weight.detach()[1:].cpu(), dim=1)
    similar_VV = unit_VD @ unit_VD.T
    assert (similar_VV[:5, :5].sum() - 5) / 20 > similar_VV[:5, 5:].mean() + 0.5


def test_nothing_waits_for_the_device(monkeypatch):
    """What is done around the program; the program itself asks nobody."""
    launched = []

    class Program:
        def __getitem__(self, grid):
            return lambda *arguments, **sizes: launched.append((grid, arguments, sizes))

    monkeypatch.setattr(kernel, "train_blocks", Program())
    case = Case(block=16, shared=24)
    model = model_of(case)
    train_span = kernel.prepare(
        model, sampler_of(case), make_optimizer("sgd", model), batch_size=64, lr=0.1,
        objective="pair_sum",
    )  # fmt: skip
    text = SpanText(*(part.to(DEVICE) for part in two_topics()[:2]), room=4100)
    streams = on_device(streams_of(0))
    with NeverWait():
        list(train_span(text, lr=(0.1, 0.0), streams=streams))
    grid, arguments, sizes = launched[-1]
    assert grid == (4,)  # 64 centers at once, 16 in a block
    words_N, left_N, right_N, noise_XJ = arguments[6:10]
    assert (len(words_N), len(left_N), len(right_N)) == (257 * 16 + 6, 257 * 16, 257 * 16)
    assert noise_XJ.shape == (257, 24)
    assert arguments[-3:] == (257, 0.1, 0.0)
    assert (sizes["STRIDE"], sizes["DIM"]) == (16, 12)


# --- what cannot be ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("optimizer", "shared", "rules", "message"),
    [
        ("adam", 16, {}, "cannot do Adam"),
        ("sgd", None, {}, "shares negatives"),
        ("sgd", 16, {"max_norm": 1.0}, "no steps"),
        ("sgd", 16, {"scale_grad_by_freq": True}, "no steps"),
    ],
)
def test_what_it_cannot_do_is_an_error(optimizer, shared, rules, message):
    case = Case(block=1, shared=shared)
    model = model_of(case)
    with pytest.raises(ValueError, match=message):
        kernel.prepare(
            model, sampler_of(case), make_optimizer(optimizer, model), batch_size=None, lr=0.1,
            objective="pair_sum", restraints=Restraints(**rules),
        )  # fmt: skip


def test_a_program_that_the_gpu_has_no_room_for_is_an_error_in_words(monkeypatch):
    def refuse(*_arguments, **_sizes):
        raise triton.runtime.errors.OutOfResources(120_000, 101_376, "shared memory")

    monkeypatch.setattr(kernel.Trainer, "train", refuse)
    case = Case(block=32)
    model = model_of(case)
    with pytest.raises(ConfigError, match=r"sampling\.block=32 is too large.*120000") as caught:
        kernel.prepare(
            model, sampler_of(case), make_optimizer("sgd", model), batch_size=None, lr=0.1,
            objective="pair_sum",
        )  # fmt: skip
    assert caught.value.hint == "lower sampling.block, or use train.kernel=bmm"


SHARED = SamplingSection(block=16, shared_negatives=16)
SGD = TrainSection(optimizer="sgd", batch_size=None)


@pytest.mark.parametrize(
    ("packages", "device", "hip", "capability", "missing"),
    [
        (["triton", "gcc"], "cuda", None, (9, 0), "Python's headers: install python3-dev"),
        ([], "cuda", None, (9, 0), "the package triton: pip install triton"),
        (["triton"], "cpu", None, (9, 0), "a GPU; the device is cpu"),
        (["triton"], "cuda", "7.0", (9, 0), "an NVIDIA GPU; this torch is built for AMD's"),
        (["triton"], "cuda", None, (9, 0), "a C compiler: install gcc, or set CC to one"),
        (["triton"], "cuda", None, (7, 5), "a GPU of compute capability 8.0 or more; this one "),
    ],
)
def test_what_is_missing_is_said(packages, device, hip, capability, missing, monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    for finds in ("find_spec", "which"):
        monkeypatch.setattr(choice, finds, lambda name: name if name in packages else None)
    monkeypatch.setattr(choice.sysconfig, "get_path", lambda _: "nowhere")
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(torch.version, "hip", hip)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    named = SGD.model_copy(update={"kernel": "triton"})
    with pytest.raises(ConfigError) as caught:
        choose_kernel(named, SHARED, torch.device(device))
    assert str(caught.value).startswith(f"train.kernel=triton needs {missing}")
    assert caught.value.hint == "use train.kernel=auto, or bmm"
    if device == "cuda":
        chosen = choose_kernel(SGD, SHARED, torch.device(device))
        assert chosen.name == "bmm"
        assert chosen.reason.startswith(f"triton, which is faster, needs {missing}")


def test_a_gpu_takes_it_where_every_setting_allows(monkeypatch):
    cuda = torch.device("cuda")
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (8, 0))
    monkeypatch.setattr(choice, "which", lambda name: name)
    monkeypatch.setattr(choice.Path, "exists", lambda _: True)
    chosen = choose_kernel(SGD, SHARED, cuda)
    assert (chosen.name, chosen.reason) == ("triton", "the fastest on a GPU, and it has sgd")
    assert choose_kernel(TrainSection(optimizer="sgd"), SHARED, cuda).name == "triton"
    for train, sampling, obstacle in (
        (TrainSection(batch_size=None), SHARED, "train.optimizer to be adagrad or sgd"),
        (SGD, SamplingSection(), "sampling.shared_negatives to be a number"),
        (SGD, SHARED.model_copy(update={"block": 33}), "sampling.block to be at most 32"),
    ):
        chosen = choose_kernel(train, sampling, cuda)
        assert chosen.name == "bmm"
        assert chosen.reason.startswith(f"triton, which is faster, needs {obstacle}")


# --- through the program ----------------------------------------------------------------------


RUN = (
    *TINY_SETTINGS, "train.kernel=triton", "train.optimizer=adagrad", "train.lr=0.1",
    "train.epochs=1", "sampling.block=16", "sampling.shared_negatives=16",
)  # fmt: skip


def options(*settings):
    return [part for setting in settings for part in ("-s", setting)]


@pytest.mark.slow
def test_a_run_trains_through_it(cli, tiny_text):
    done = cli("train", "--run", "r", *options(*RUN, f"corpus.path={tiny_text}"))
    assert done.code == 0, done.err
    assert "kernel triton: as configured" in done.err
    info = json.loads((tiny_text.parent / "r" / "run.json").read_text())
    assert info["kernel"] == "triton"
    assert info["loss"] < 0.6


@pytest.mark.skipif(DEVICE.type == "cuda", reason="there is a GPU")
def test_a_machine_without_a_gpu_says_so(cli, tiny_text, monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET")
    done = cli("train", "--run", "r", *options(*RUN, f"corpus.path={tiny_text}"))
    assert (done.code, done.out) == (2, "")
    assert "w2v: error: train.kernel=triton needs a GPU; the device is cpu" in done.err
    assert "hint: use train.kernel=auto, or bmm" in done.err
    assert not (tiny_text.parent / "r").exists()


# Triton compiles for GPUs that are not here; the interpreter must not be on for that.
COMPILE = """
import json, sys
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from w2v.kernels import triton as kernel

from w2v.kernels.program import train_blocks

names = train_blocks.arg_names
for dim, block, capability, frozen in ((100, 16, 90, False), (300, 32, 80, True)):
    sizes = dict(
        DIM=dim, STRIDE=-(-dim // 8) * 8, T=block, W=5, J=24, K=5, C=block, L=64, E=128,
        AVOID=True, CENTER_MEAN=False, STEADY=False, ADAGRAD=True, FROZEN=frozen,
        PRECISION=kernel.PRECISION,
    )
    kinds = dict.fromkeys(names[:4], "*fp32") | dict.fromkeys(names[6:10], "*i32")
    kinds |= dict.fromkeys(names[4:6], "*u8" if frozen else "*fp32")
    kinds |= {"loss_sum": "*fp64", "centers": "*i64", "num_blocks": "i32"}
    kinds |= {"first_lr": "fp32", "last_lr": "fp32"} | dict.fromkeys(sizes, "constexpr")
    aligned = {(i,): [["tt.divisibility", 16]] for i in range(12)}
    made = triton.compile(
        ASTSource(train_blocks, signature=kinds, constexprs=sizes, attrs=aligned),
        target=GPUTarget("cuda", capability, 32),
        options=dict(num_warps=kernel.WARPS, num_stages=1, enable_fp_fusion=True),
    )
    text = made.asm["ptx"]
    adds = [word for word in text.split() if word.startswith(("atom.", "red."))]
    print(json.dumps([capability, made.metadata.shared, len(made.asm["cubin"]), adds]))
"""


@pytest.mark.slow
def test_it_compiles_for_gpus_that_are_not_here(tmp_path):
    environment = {name: of for name, of in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["TRITON_CACHE_DIR"] = str(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", COMPILE], env=environment, capture_output=True, text=True,
        timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    made = [json.loads(line) for line in done.stdout.splitlines()]
    assert [capability for capability, *_ in made] == [90, 80]
    for capability, shared_bytes, cubin_bytes, adds in made:
        assert shared_bytes <= 99 * 1024  # what a program may have on any of these GPUs
        assert cubin_bytes > 0
        # Rows are added to where they are; Hopper adds four numbers at once.
        assert any(".v4.f32" in add if capability >= 90 else ".f32" in add for add in adds), adds
