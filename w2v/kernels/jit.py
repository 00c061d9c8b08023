"""How the functions of `hogwild` are compiled: by numba, without the interpreter's lock.

Compiled code is kept on disk, for each kind of processor: in `__pycache__` beside the source, or
in the user's cache folder where that cannot be written, or wherever NUMBA_CACHE_DIR says. Where
nothing can be written it is compiled anew in every process.
"""

import logging
from collections.abc import Callable
from typing import Any, TypeVar

from numba import njit

# Sums in any order; but NaN and infinity keep their meaning, for training must notice them.
FAST_MATH = {"contract", "reassoc", "nsz", "arcp", "afn"}

Function = TypeVar("Function", bound=Callable[..., Any])

log = logging.getLogger(__name__)


def compiled(function: Function) -> Function:
    """Compiles a function at its first call."""
    return _jit(function, fastmath=False)


def compiled_fast(function: Function) -> Function:
    """Compiles a function that may round otherwise than it is written."""
    return _jit(function, fastmath=FAST_MATH)


def inlined(function: Function) -> Function:
    """Puts a function into the compiled ones that call it, so that their constants are its own."""
    made: Function = njit(inline="always")(function)
    return made


def first_call(function: Callable[..., Any], *arguments: Any) -> Any:
    """Calls a compiled function for the first time, in whatever state its cache is.

    A cache that cannot be written is done without; one that cannot be loaded is begun anew.
    """
    try:
        return function(*arguments)
    except OSError as error:  # while saving: the code itself is there
        log.warning("compiled code cannot be kept, every run will compile anew: %s", error)
    except Exception as error:  # whatever a damaged file leads to; an error of ours comes again
        log.warning("compiled code could not be loaded or made, trying anew: %r", error)
        function.recompile()  # type: ignore[attr-defined]  # forgets what is kept
    return function(*arguments)


def _jit(function: Function, *, fastmath: bool | set[str]) -> Function:
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": fastmath}
    try:
        made: Function = njit(cache=True, **options)(function)
    except RuntimeError as error:  # numba found no folder to write to
        log.debug("%s will be compiled anew in every process: %s", function.__name__, error)
        made = njit(**options)(function)
    return made
