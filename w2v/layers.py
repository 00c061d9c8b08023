"""A table of vectors as torch's own layers: `nn.Embedding` and `nn.EmbeddingBag`.

A float32 table enters, a module with a copy of it leaves: row i stays row i, so the ids of words
index the module as they index the table. `WordVectors.to_embedding` and `.to_embedding_bag` are
the doors; this is apart from them so that whoever only asks for neighbors need not load torch.

Legend: V = words, D = dimensions.
"""

import logging
from typing import get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from w2v.errors import ConfigError
from w2v.names import BagMode

log = logging.getLogger(__name__)


def embedding(
    matrix_VD: NDArray[np.float32],
    *,
    freeze: bool,
    padding_idx: int | None,
    max_norm: float | None,
    norm_type: float,
    scale_grad_by_freq: bool,
    sparse: bool,
) -> nn.Embedding:
    """The table as an `nn.Embedding`; all settings but `padding_idx` mean what torch says.

    Raises:
        ConfigError: a setting is out of its range, or torch has no gradient for two together.
    """
    _check_norm(max_norm, norm_type)
    _check_gradient(scale_grad_by_freq=scale_grad_by_freq, sparse=sparse)
    module: nn.Embedding = nn.Embedding.from_pretrained(  # type: ignore[no-untyped-call]
        _weight(matrix_VD, padding_idx),
        freeze=freeze,
        padding_idx=padding_idx,
        max_norm=max_norm,
        norm_type=norm_type,
        scale_grad_by_freq=scale_grad_by_freq,
        sparse=sparse,
    )
    return module


def embedding_bag(
    matrix_VD: NDArray[np.float32],
    *,
    mode: BagMode,
    freeze: bool,
    padding_idx: int | None,
    max_norm: float | None,
    norm_type: float,
    scale_grad_by_freq: bool,
    sparse: bool,
    include_last_offset: bool,
) -> nn.EmbeddingBag:
    """The table as an `nn.EmbeddingBag`; all settings but `padding_idx` mean what torch says.

    Raises:
        ConfigError: a setting is out of its range, or torch has no gradient for two together.
    """
    if mode not in get_args(BagMode):
        raise ConfigError(f"mode must be one of {', '.join(get_args(BagMode))}; got {mode!r}")
    if mode == "max" and (scale_grad_by_freq or sparse):
        setting = "sparse" if sparse else "scale_grad_by_freq"
        raise ConfigError(f"torch has no {setting} with mode='max'")
    _check_norm(max_norm, norm_type)
    _check_gradient(scale_grad_by_freq=scale_grad_by_freq, sparse=sparse)
    if scale_grad_by_freq and not freeze and not _bags_are_scaled_right():
        log.warning(
            "torch %s scales the gradients of bags wrongly on CPUs (github.com/pytorch/pytorch "
            "issue 190063); to_embedding(scale_grad_by_freq=True) and a mean are right",
            torch.__version__,
        )
    return nn.EmbeddingBag.from_pretrained(
        _weight(matrix_VD, padding_idx),
        freeze=freeze,
        max_norm=max_norm,
        norm_type=norm_type,
        scale_grad_by_freq=scale_grad_by_freq,
        mode=mode,
        sparse=sparse,
        include_last_offset=include_last_offset,
        padding_idx=padding_idx,
    )


def _weight(matrix_VD: NDArray[np.float32], padding_idx: int | None) -> Tensor:
    """A copy of the table, with a row of zeros behind it where that is the padding."""
    num_words, dim = matrix_VD.shape
    if padding_idx is not None and not 0 <= padding_idx <= num_words:
        raise ConfigError(
            f"padding_idx must be between 0 and {num_words}, which is a new row of zeros; "
            f"got {padding_idx}"
        )
    weight = torch.zeros(num_words + (padding_idx == num_words), dim)
    weight.numpy()[:num_words] = matrix_VD
    return weight


def _check_norm(max_norm: float | None, norm_type: float) -> None:
    for name, value in (("max_norm", max_norm), ("norm_type", norm_type)):
        if value is not None and not value > 0:
            raise ConfigError(f"{name} must be above 0, got {value}")


def _check_gradient(*, scale_grad_by_freq: bool, sparse: bool) -> None:
    """Torch would say so too, but not before the first step of training."""
    if scale_grad_by_freq and sparse:
        raise ConfigError(
            "torch scales no sparse gradients: scale_grad_by_freq or sparse, not both"
        )


def _bags_are_scaled_right() -> bool:
    """Whether a row that is used once keeps its gradient beside one that is used twice."""
    weight_VD = torch.zeros(2, 1, requires_grad=True)
    ids_BL = torch.tensor([[0, 0, 1]])
    with torch.enable_grad():
        sum_BD = nn.functional.embedding_bag(ids_BL, weight_VD, mode="sum", scale_grad_by_freq=True)
        (gradient_VD,) = torch.autograd.grad(sum_BD.sum(), weight_VD)
    return bool((gradient_VD == 1).all())
