"""The oracle: one step's loss and gradients of skip-gram, in plain float64 numpy loops.

Nothing is shared with the package: a kernel that agrees with this agrees with the formula.
Every score x of a center and a target has loss weight * -log(sigmoid(x)) where the label is 1,
weight * -log(1 - sigmoid(x)) where it is 0; a center's loss is their sum over its total weight.
"""

from typing import NamedTuple

import numpy as np


class Answer(NamedTuple):
    losses: list[float]  # of each scored center
    center_VD: np.ndarray  # dense gradient of the sum of the losses
    context_VD: np.ndarray


def skip_gram_step(center_VD, context_VD, batch, *, objective) -> Answer:
    """Loss and dense gradients of one batch; the objective is that of `kernels.bmm.gradients`."""
    center_VD, context_VD = np.asarray(center_VD, float), np.asarray(context_VD, float)
    centers_BT, targets_BL, labels_BTL, weights_BTL = (np.asarray(part) for part in batch)
    answer = Answer([], np.zeros_like(center_VD), np.zeros_like(context_VD))
    for b, t in np.ndindex(*centers_BT.shape):
        total = float(weights_BTL[b, t].sum())
        if total == 0:
            continue
        center, loss = centers_BT[b, t], 0.0
        for target, label, weight in zip(
            targets_BL[b], labels_BTL[b, t], weights_BTL[b, t], strict=True
        ):
            x = float(center_VD[center] @ context_VD[target])
            probability = 1 / (1 + np.exp(-x))
            loss -= weight * np.log(probability if label else 1 - probability)
            slope = weight * (probability - label)
            slope /= total if objective == "center_mean" else 1
            answer.center_VD[center] += slope * context_VD[target]
            answer.context_VD[target] += slope * center_VD[center]
        answer.losses.append(loss / total)
    return answer
