"""Word2vec that reads like the textbook: skip-gram with negative sampling, from YAML to vectors.

Making vectors:  config -> sources -> vocab, corpus -> batches -> kernels -> train -> a run folder.
Using vectors:   a run folder or a vector file -> vectors -> similar, export.

The two halves meet only in the run folder on disk. Making needs torch and polars; using needs
numpy and safetensors alone, so the names below are imported when they are first touched.
"""

__version__ = "0.1.0"
