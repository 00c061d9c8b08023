"""How the learning rate moves through a run."""

from w2v.names import Schedule

LINEAR_FLOOR = 1e-4  # the last learning rate, as a share of the first; word2vec.c's


def learning_rate(schedule: Schedule, *, lr: float, done: float) -> float:
    """The learning rate when so much of the run is done, 0 to 1."""
    return lr if schedule == "constant" else lr * max(1 - done, LINEAR_FLOOR)
