"""The words that settings choose among; their meaning stands in `config`.

They are apart from the settings so that the training core needs nothing but torch and numpy.
"""

from typing import Literal

KeepFormula = Literal["paper", "word2vec"]
Init = Literal["xavier", "word2vec"]
Freeze = Literal["none", "pretrained", "all"]
KernelName = Literal["auto", "bmm", "hogwild", "triton"]
OptimizerName = Literal["adam", "sgd", "adagrad"]
Schedule = Literal["constant", "linear"]
Objective = Literal["center_mean", "pair_sum"]
Merge = Literal["tables", "gradients"]  # what several processes share
DeviceName = Literal["auto", "cpu", "cuda", "mps"]
BagMode = Literal["mean", "sum", "max"]  # what nn.EmbeddingBag makes of the rows of a bag
