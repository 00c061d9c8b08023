"""Other processors, other places for the compiled code: each in a process of its own."""

import json
import logging
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from test_hogwild_runs import prepared

import w2v
from w2v.kernels import hogwild

PACKAGE = Path(w2v.__file__).parent
X86 = platform.machine().lower() in ("x86_64", "amd64")

# Trains on a small random text with one thread, and says how the compiled code was come by.
PROGRAM = """
import json, logging, sys
import numpy as np, torch
import w2v
from numba.core.registry import cpu_target
from w2v.draws import SpanText, Streams, make_sampler
from w2v.kernels import hogwild, pieces
from w2v.model import SkipGram
from w2v.optimizers import SGD

logging.basicConfig(level=logging.INFO, format="%(message)s")
loops, compile_loop = [], hogwild.compile_loop
hogwild.compile_loop = lambda shape: loops.append(compile_loop(shape)) or loops[-1]
torch.set_num_threads(1)

def seeded(seed):
    return torch.Generator().manual_seed(seed)

model = SkipGram(31, 8, init="xavier", generator=seeded(0), row_multiple=16)
sampler = make_sampler(
    np.array([0] + [100] * 30), window=3, negatives=5, noise_power=0.75, subsample=0.02,
    subsample_formula="paper", block=8, shared_negatives=16, avoid_contexts=True, redraw=True,
    device=torch.device("cpu"),
)
optimizer = SGD(model.center.weight.data, model.context.weight.data)
rules = {"batch_size": None, "objective": "pair_sum", "lr": 0.1}
train_span = hogwild.prepare(model, sampler, optimizer, **rules)
ids_N = torch.randint(1, 31, (20_000,), generator=seeded(1), dtype=torch.int32)
span = ids_N, torch.arange(0, 20_001, 10)
steps = list(train_span(SpanText(*span), lr=(0.01, 0.01), streams=Streams(seeded(2), seeded(3))))
np.save(sys.argv[1], model.center.weight.detach().numpy())
stats = [function.stats for function in (loops[-1], pieces.draw_piece)]
print(json.dumps({
    "package": w2v.__file__,
    "processor": cpu_target.target_context.codegen().magic_tuple()[1],
    "centers": sum(step.tally.centers.item() for step in steps),
    "hits": [sum(of.cache_hits.values()) for of in stats],
    "misses": [sum(of.cache_misses.values()) for of in stats],
}))
"""


@pytest.fixture
def run(tmp_path):
    """Runs PROGRAM; returns what it says, the vectors, and what it wrote to stderr."""

    def run(name="vectors", program=PROGRAM, **environment):
        clean = {key: value for key, value in os.environ.items() if "NUMBA" not in key}
        vectors = tmp_path / f"{name}.npy"
        done = subprocess.run(
            [sys.executable, "-c", program, vectors], cwd=tmp_path, capture_output=True, text=True,
            timeout=180, env=clean | {key: str(value) for key, value in environment.items()},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout), np.load(vectors), done.stderr

    return run


@pytest.fixture
def installed(tmp_path):
    """A copy of the package that nothing can be cached in, and the environment that finds it.

    A file where `__pycache__` should be stops even root.
    """
    copy = tmp_path / "site" / "w2v"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__", "configs"))
    (copy / "kernels" / "__pycache__").write_text("")
    return {
        "PYTHONPATH": copy.parent,
        "PYTHONDONTWRITEBYTECODE": "1",
        "HOME": tmp_path / "home",
        "XDG_CACHE_HOME": tmp_path / "home" / "cache",
    }


@pytest.mark.slow
@pytest.mark.skipif(not X86, reason="names a processor of the x86 family")
def test_a_processor_without_wide_registers_gives_the_same_vectors(run):
    usual, usual_VD, _ = run("usual")
    old, old_VD, _ = run("old", NUMBA_CPU_NAME="nehalem", NUMBA_CPU_FEATURES="")
    assert old["processor"] == "nehalem" != usual["processor"]
    assert old["centers"] == usual["centers"] > 10_000
    assert np.abs(usual_VD).max() > 0.5
    np.testing.assert_allclose(old_VD, usual_VD, atol=1e-4)


@pytest.mark.slow
def test_code_goes_to_the_users_cache_where_the_package_cannot_hold_it(run, installed, tmp_path):
    first, first_VD, said = run(**installed)
    assert Path(first["package"]).is_relative_to(tmp_path)
    assert first["hits"] == [0, 0]
    assert min(first["misses"]) > 0
    assert said.count("compiling the hogwild kernel for dim 8") == 1
    kept = {path.name.partition("-")[0] for path in (tmp_path / "home/cache").rglob("*.nbc")}
    assert "pieces.draw_piece" in kept
    assert len([name for name in kept if name.startswith("compiled.train_piece_")]) == 1
    second, second_VD, said = run(**installed)
    assert min(second["hits"]) > 0
    assert second["misses"] == [0, 0]
    assert "compiling" not in said
    assert np.array_equal(first_VD, second_VD)
    # Other code must not be taken for this: it is compiled anew.
    tiles = tmp_path / "site/w2v/kernels/tiles.py"
    tiles.write_text(tiles.read_text() + "\n# changed\n")
    third, _, _ = run(**installed)
    assert (third["hits"][0], third["misses"][0]) == (0, 1)


@pytest.mark.slow
def test_it_trains_where_nothing_can_be_cached(run, installed, tmp_path):
    (tmp_path / "home").write_text("no folder")
    found, _, said = run(**installed)
    assert found["hits"] == [0, 0]
    assert found["centers"] > 10_000
    assert said.count("\n") == 1
    assert said.startswith("compiling the hogwild kernel")


@pytest.mark.slow
def test_a_damaged_cache_is_no_obstacle(run, tmp_path):
    cache = {"NUMBA_CACHE_DIR": tmp_path / "cache"}
    _, first_VD, _ = run(**cache)
    for path in (tmp_path / "cache").rglob("*.nb?"):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    _, second_VD, _ = run(**cache)
    assert np.array_equal(first_VD, second_VD)


FULL_DISK = """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))  # more than any index, less than any code
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="limits the size of files as POSIX does")
def test_a_full_disk_is_no_obstacle(run, tmp_path):
    found, _, _ = run(program=FULL_DISK + PROGRAM, NUMBA_CACHE_DIR=tmp_path / "cache")
    assert found["centers"] > 10_000


@pytest.mark.slow
def test_no_index_leaves_its_array(run, tmp_path):
    """With numba's own checks of every index."""
    program = PROGRAM.replace("(20_000,)", "(40_001,)").replace("subsample=0.02", "subsample=None")
    assert program != PROGRAM
    for step, J in ((40_001, 16), (2, 4096)):
        borders = f"torch.tensor([*range(0, 40_001, {step}), 40_001])"
        text = program.replace("torch.arange(0, 20_001, 10)", borders)
        text = text.replace("shared_negatives=16", f"shared_negatives={J}")
        found, _, _ = run(program=text, NUMBA_BOUNDSCHECK="1", NUMBA_CACHE_DIR=tmp_path / "cache")
        assert found["centers"] == 40_000 + (step > 2)
        shutil.rmtree(tmp_path / "cache")


# --- what is said -------------------------------------------------------------------------------


@pytest.mark.parametrize(("seconds", "lines"), [(0.3, 1), (0.0, 0)])
def test_a_long_compilation_is_announced_once(seconds, lines, caplog, monkeypatch):
    def slowly(shape):
        time.sleep(seconds)
        return lambda *_: None

    monkeypatch.setattr(hogwild, "compile_loop", slowly)
    monkeypatch.setattr(hogwild, "SAY_AFTER_S", 0.2)
    with caplog.at_level(logging.INFO):
        hogwild.prepare(*prepared(), batch_size=None, objective="pair_sum", lr=0.1)
        time.sleep(0.25)
    assert caplog.text.count("compiling the hogwild kernel for dim 8") == lines
