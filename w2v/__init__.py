"""Word2vec that reads like the textbook: skip-gram with negative sampling, from YAML to vectors.

Making vectors:  config -> sources -> vocab, corpus -> batches -> kernels -> loop -> a run folder.
Using vectors:   a run folder or a vector file -> vectors -> similar, embed, export.

The two halves meet only in the run folder on disk. Making needs torch and polars; using needs
numpy and safetensors alone, so the names below are imported when they are first touched. Nothing
is imported here, so that the program's own first line (`__main__`) runs at once.
"""

__version__ = "0.1.0"

TYPE_CHECKING = False  # as far as typing is concerned, which takes long to import
if TYPE_CHECKING:
    from w2v.runs import load
    from w2v.training import train
    from w2v.vectors import WordVectors

__all__ = ["WordVectors", "__version__", "load", "train"]

_HOME = {"WordVectors": "w2v.vectors", "load": "w2v.runs", "train": "w2v.training"}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOME[name]), name)
