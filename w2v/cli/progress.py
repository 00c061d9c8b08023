"""The bar that shows a download: only on a terminal, only while bytes come, always on stderr."""

from collections.abc import Iterator
from contextlib import contextmanager

from tqdm import tqdm

from w2v.download import Progress


@contextmanager
def download_bar() -> Iterator[Progress]:
    """Yields what a download reports its progress to; where nothing comes, nothing is shown."""
    # disable=None: not where stderr is no terminal. delay: not before the first bytes.
    with tqdm(unit="B", unit_scale=True, leave=False, disable=None, delay=1e-9) as bar:

        def show(done: int, total: int | None) -> None:
            if done < bar.n:  # a new try
                bar.reset()
            bar.total = total
            bar.update(done - bar.n)
            if done == total:
                bar.clear()

        yield show
