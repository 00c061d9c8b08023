"""Pins every package that `make` installs, with the digests of its files: locks/*.txt.

    make lock        after a change of constraints.txt or of the dependencies

pyproject.toml gives ranges, constraints.txt the versions that are tested, and uv resolves both for
every system and Python at once. Each lock holds what the locks before it do not: core.txt all that
`make quickstart` installs, dev.txt what tests and checks add, readers.txt what CI adds. torch is in
none of them, for its CPU and CUDA builds are different files of one version; nor are the CUDA
packages that its build brings along.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
LOCKS = ROOT / "locks"
EXTRAS = {"core": (), "dev": ("dev",), "readers": ("dev", "readers")}
TORCH_BRINGS = ("torch", "nvidia-", "cuda-", "w2v")  # and the project itself, for `w2v[plot]`
BUILDING = ("hatchling", "editables")  # what pip would fetch by itself, unpinned, to build w2v
OLDEST_PYTHON = "3.11"


def main() -> int:
    """Writes the locks; returns the exit code."""
    uv = shutil.which("uv", path=str(Path(sys.executable).parent))
    if uv is None:
        sys.stderr.write("lock.py: no uv beside this Python; run it as: make lock\n")
        return 1
    LOCKS.mkdir(exist_ok=True)
    before: set[str] = set()
    for name, extras in EXTRAS.items():
        entries = resolve(uv, extras)
        added = [entry for entry in entries if entry not in before]
        (LOCKS / f"{name}.txt").write_text("".join(added), encoding="utf-8")
        print(f"locks/{name}.txt\t{len(added)} packages")
        before.update(entries)
    return 0


def resolve(uv: str, extras: tuple[str, ...]) -> list[str]:
    """A requirement with its hashes for every package, torch's own left out."""
    with tempfile.NamedTemporaryFile("w", suffix=".in", encoding="utf-8") as building:
        building.write("\n".join(BUILDING))
        building.flush()
        command = [uv, "pip", "compile", "pyproject.toml", building.name, "--quiet", "--universal"]
        command += ["--generate-hashes", "--python-version", OLDEST_PYTHON]
        command += ["--constraint", "constraints.txt", "--no-header", "--no-annotate"]
        command += [f"--extra={extra}" for extra in extras]
        done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    entries = re.findall(r"^\S+==.*\n(?:    .*\n)*", done.stdout, flags=re.MULTILINE)
    return [entry for entry in entries if not entry.startswith(TORCH_BRINGS)]


if __name__ == "__main__":
    sys.exit(main())
