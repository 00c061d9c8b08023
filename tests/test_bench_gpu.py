"""The script for the GPU, run where there is none: packing, checks, trials, the lines it prints."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import planted_text

SCRIPT = Path(__file__).parent.parent / "scripts" / "bench_gpu.py"
SETTINGS = (
    "vocab.min_count=1", "corpus.heldout_every=null", "sampling.subsample=null", "model.dim=8",
    "train.epochs=1",
)  # fmt: skip
# What the machine with the GPU lacks.
BARE = "import sys; sys.modules.update(dict.fromkeys(['polars', 'pydantic', 'yaml', 'typer']))\n"


def run(folder, *arguments, code=None):
    start = ["-c", f"{code}import runpy, sys; runpy.run_path({str(SCRIPT)!r}, run_name='__main__')"]
    done = subprocess.run(
        [sys.executable, *(start if code else [SCRIPT]), *map(str, arguments)], cwd=folder,
        env=os.environ | {"W2V_DATA": str(folder / "data"), "TRITON_INTERPRET": "1"},
        capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_corpus_is_packed_checked_and_trained(tmp_path):
    pytest.importorskip("triton")
    (tmp_path / "a.txt").write_text(planted_text(lines=60, seed=0))
    (tmp_path / "eval").mkdir()
    (tmp_path / "eval" / "same.tsv").write_text("apple0\tapple1\t9\nriver0\tmetal1\t1\nx\ty\t2\n")
    (tmp_path / "eval" / "questions-words.txt").write_text(": a\napple0 apple1 river0 river1\n")
    overrides = [part for setting in SETTINGS for part in ("-s", setting)]
    packed = run(tmp_path, "--pack", "a.npz", "text.yaml", "-s", "corpus.path=a.txt", *overrides)
    assert packed.startswith("a.npz: 540 words")
    told = run(tmp_path, "a.npz", "--device", "cpu", "--quick", "--eval-data", "eval", code=BARE)
    assert "## a: 540 words, 19 types" in told
    for kernel in ("bmm", "triton"):
        for objective in ("pair_sum", "center_mean"):
            (errors,) = re.findall(f"{kernel}, {objective}: relative error (.*): right", told)
            assert all(0 < float(error) < 1e-5 for error in errors.split(", "))
        assert f"{kernel} on a: a span without waiting" in told
        (line,) = re.findall(f"^{kernel} own centers, as it is: .*", told, re.MULTILINE)
        assert re.search(r"loss 0\.\d{3}; same [-\d.]+ analogies [\d.]+$", line)
