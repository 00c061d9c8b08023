"""What `w2v --version -v` tells: the versions of all that speed and numbers depend on.

Nothing is imported: packages tell their version in their metadata, and torch the CUDA that it was
built for in a file of its own.
"""

import platform
import re
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from w2v import __version__

PACKAGES = ("torch", "numpy", "numba", "polars", "triton")


def versions() -> list[str]:
    """A line for w2v, Python, the system, the packages and CUDA."""
    packages = [f"{name} {_version(name)}" for name in PACKAGES]
    about = [f"Python {platform.python_version()}", f"{platform.system()} {platform.machine()}"]
    return [f"w2v {__version__}", *about, *packages, f"CUDA {_cuda()}"]


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "is not installed"


def _cuda() -> str:
    """The version of CUDA that torch is built for."""
    torch = find_spec("torch")
    path = Path(torch.origin).with_name("version.py") if torch and torch.origin else None
    text = path.read_text(encoding="utf-8") if path and path.exists() else ""
    built_for = re.search(r"^cuda\b[^=]*= *'([^']+)'", text, re.MULTILINE)
    return built_for[1] if built_for else "is not in this torch"
