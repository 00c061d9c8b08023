"""Rows of many dimensions become places on a plane: by principal components, or by t-SNE.

Unit rows enter, a `Projection` leaves. PCA is numpy's; t-SNE is scikit-learn's, and the default
where that is installed and more than FEW_ROWS are shown. How many of a word's nearest are its
nearest on the plane too, on the Penn Treebank and on film reviews:

    words shown                              by t-SNE      by PCA
    5,000 commonest, of the ten nearest      28, 36 %      1, 2 %
    2,000 commonest, of the ten nearest      32, 43 %      4, 5 %
    200 commonest, of the ten nearest        49, 41 %      22, 16 %
    three and their ten nearest, of five     71, 78 %      55, 63 %
    one and its ten nearest, of five         73, 79 %      80, 83 %

What is far apart is far only by PCA: t-SNE keeps neighbors, not distances.

Sources: van der Maaten and Hinton 2008, "Visualizing Data using t-SNE"; Kobak and Berens 2019, "The
art of using t-SNE for single-cell transcriptomics" (starting from the principal components).

Legend: N = rows, D = their dimensions, C = components.
"""

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from w2v.errors import ConfigError
from w2v.extras import has_package, require_extra

Method = Literal["pca", "tsne"]

PERPLEXITY = 30.0  # about how many neighbors t-SNE heeds; scikit-learn's default
FEW_ROWS = 15  # up to that PCA shows more of the neighbors
LEAST_ROWS = 4  # that t-SNE can arrange: its perplexity is at least 1
INIT_SPREAD = 1e-4  # how wide t-SNE's start is; wider, it could not rearrange (Kobak and Berens)


class Projection(NamedTuple):
    """Where rows lie on the plane, and what the plane is."""

    xy_N2: NDArray[np.float64]
    method: Method
    share_C: tuple[float, float]  # of the variance, in the first two principal components
    reason: str  # why this method


def project(unit_ND: NDArray[np.float64], method: Method | None = None) -> Projection:
    """Puts rows on a plane; equal rows give equal places, run for run.

    Args:
        unit_ND: rows of length 1, so that distances are those of cosines.
        method: None: t-SNE where scikit-learn is there and the rows are many enough, else PCA.

    Raises:
        ConfigError: t-SNE is asked for, and cannot be.
    """
    if method == "tsne":
        require_extra("plot", "sklearn")
        if len(unit_ND) < LEAST_ROWS:
            raise ConfigError(
                f"t-SNE wants {LEAST_ROWS} words or more, got {len(unit_ND)}",
                hint="--method pca",
            )
    xy_N2, share_C = pca(unit_ND)
    shown = f"two principal components show {sum(share_C):.0%} of the variance"
    if method is not None:
        chosen, reason = method, "as asked"
    elif len(unit_ND) <= FEW_ROWS:
        chosen, reason = "pca", "for so few words the better one"
    elif not has_package("sklearn"):
        chosen, reason = "pca", "t-SNE would need scikit-learn: pip install 'w2v[plot]'"
    else:
        chosen, reason = "tsne", f"it keeps neighbors together; {shown}"
    if chosen == "pca":
        return Projection(xy_N2, "pca", share_C, f"{reason}; {shown}")
    return Projection(_tsne(unit_ND, xy_N2), "tsne", share_C, reason)


def pca(rows_ND: NDArray[np.float64]) -> tuple[NDArray[np.float64], tuple[float, float]]:
    """The first two principal components of each row, and their shares of the variance.

    The sign of a component is free: its largest entry in size, the first of them, is positive.
    """
    centered_ND = rows_ND - rows_ND.mean(axis=0)
    left_NC, sizes_C, _ = np.linalg.svd(centered_ND, full_matrices=False)
    scores_NC = np.zeros((len(rows_ND), 2))
    num = min(2, len(sizes_C))
    scores_NC[:, :num] = left_NC[:, :num] * sizes_C[:num]
    largest_C = scores_NC[np.abs(scores_NC).argmax(axis=0), [0, 1]]
    scores_NC *= np.where(largest_C < 0, -1.0, 1.0)
    total = float((sizes_C**2).sum())
    share_C = np.zeros(2)
    share_C[:num] = sizes_C[:num] ** 2 / (total if total > 0 else 1.0)
    return scores_NC, (float(share_C[0]), float(share_C[1]))


def _tsne(unit_ND: NDArray[np.float64], start_N2: NDArray[np.float64]) -> NDArray[np.float64]:
    """t-SNE of unit rows, whose Euclidean distances rise as their cosines fall."""
    from sklearn.manifold import TSNE

    spread = float(start_N2[:, 0].std())
    if spread == 0.0:  # all rows are equal, and so are their places
        return start_N2
    model = TSNE(
        perplexity=min(PERPLEXITY, (len(unit_ND) - 1) / 3),
        init=(start_N2 * (INIT_SPREAD / spread)).astype(np.float32),
        random_state=0,
    )
    return np.asarray(model.fit_transform(unit_ND.astype(np.float32)), np.float64)
