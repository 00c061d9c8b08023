"""Work on a GPU that is recorded once and replayed, at the cost of one call for all of it.

Launching some fifty operations from Python takes longer than the device takes to do them. A CUDA
graph launches them as one. What is recorded are operations on addresses: the work takes no
arguments, has no size that depends on data, and reads and writes tensors that stay.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch

WARM_UPS = 3  # libraries make themselves ready in the first calls, which must not be recorded


class Recorded:
    """Calls `work`; on a CUDA device as a replay, once it is recorded."""

    def __init__(
        self,
        work: Callable[[], None],
        *,
        device: torch.device,
        generators: Sequence[torch.Generator] = (),
    ) -> None:
        """Args: the work; where it runs; what it draws from."""
        self._work, self._device, self._generators = work, device, generators
        self._graph: torch.cuda.CUDAGraph | None = None

    def __call__(self) -> None:
        """Does the work once."""
        if self._graph is None:
            self._work()
        else:
            self._graph.replay()

    def record(self) -> None:
        """Does the work WARM_UPS times and records it; on other devices than CUDA, nothing."""
        if self._device.type != "cuda":
            return
        stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream(self._device))
        graph = torch.cuda.CUDAGraph()
        for generator in self._generators:
            graph.register_generator_state(generator)
        with tensor_cores():
            with torch.cuda.stream(stream):
                for _ in range(WARM_UPS):
                    self._work()
            with torch.cuda.graph(graph, stream=stream):
                self._work()
        torch.cuda.current_stream(self._device).wait_stream(stream)
        self._graph = graph


@contextmanager
def tensor_cores() -> Iterator[None]:
    """Lets float32 products round their factors to TF32; a relative error of some 3e-4."""
    products = torch.backends.cuda.matmul
    before = products.fp32_precision
    products.fp32_precision = "tf32"
    try:
        yield
    finally:
        products.fp32_precision = before
