"""What a run needs is counted from what it takes; too little is one line."""

import pytest
import torch

from w2v import devices, memory
from w2v.errors import StorageError
from w2v.memory import memory_errors, needs, require_memory
from w2v.model import SkipGram
from w2v.optimizers import make_optimizer

CUDA = torch.device("cuda")


def bytes_of(tensors):
    return sum(tensor.untyped_storage().nbytes() for tensor in tensors)


@pytest.mark.parametrize("optimizer", ["adam", "sgd", "adagrad"])
@pytest.mark.parametrize("row_multiple", [1, 16])
def test_what_is_counted_is_what_is_taken(optimizer, row_multiple):
    model = SkipGram(
        50, 12, init="xavier", generator=torch.Generator().manual_seed(0), row_multiple=row_multiple
    )
    updates = make_optimizer(optimizer, model)
    counted = needs(
        vocab_size=50, dim=12, row_floats=model.center.weight.stride(0), optimizer=optimizer
    )
    assert counted.table_bytes == bytes_of(model.parameters())
    remembered = [tensor for tensor in updates.state().values() if tensor.dim() > 0]
    unsaved = {"adam": "_grads", "adagrad": "_slot_V"}.get(optimizer)
    if unsaved:
        others = getattr(updates, unsaved)
        remembered += others if isinstance(others, list) else [others]
    if (optimizer, row_multiple) == ("adam", 16):
        return  # moments of padded tables: no kernel pads them for Adam
    assert counted.optimizer_bytes == bytes_of(remembered)


def big(optimizer="adam"):
    return needs(vocab_size=10**7, dim=100, row_floats=104, optimizer=optimizer)


def test_tables_larger_than_the_card_are_refused_in_one_line(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (6 * 10**9, 8 * 10**9))
    with pytest.raises(StorageError) as caught:
        require_memory(big(), CUDA)
    assert str(caught.value) == (
        "out of memory on cuda: the tables of 10,000,000 words take 8.3 GB, adam 24.0 GB, batches "
        "more, and 6.0 GB are free"
    )
    assert caught.value.hint == (
        "lower model.dim, vocab.max_size or train.batch_size, or take a lighter optimizer"
    )


def test_what_fits_is_not_refused_and_a_cpu_is_not_asked(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (9 * 10**9, 10**10))
    require_memory(big("sgd"), CUDA)
    require_memory(big("adagrad"), CUDA)
    require_memory(big(), torch.device("cpu"))
    assert devices.free_bytes(torch.device("cpu")) is None


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_memory_that_runs_out_later_is_told_in_the_same_words(error):
    said = pytest.raises(StorageError, match=r"take 8\.3 GB, sgd 0\.0 GB, batches more, a checkp")
    with said as caught, memory_errors(big("sgd"), torch.device("cpu")):
        raise error
    assert caught.value.hint == "lower model.dim, vocab.max_size or train.batch_size"


def test_a_card_that_cannot_even_be_asked_is_out_of_memory(monkeypatch):
    def fail(_):
        raise RuntimeError("CUDA error: out of memory")

    monkeypatch.setattr(torch.cuda, "mem_get_info", fail)
    with pytest.raises(StorageError, match="out of memory on cuda: the tables of 10,000,000 words"):
        require_memory(big(), CUDA)


def test_other_errors_pass():
    with pytest.raises(RuntimeError, match="something else"), memory_errors(big(), CUDA):
        raise RuntimeError("something else")


def test_the_words_of_torch_are_known():
    assert memory.OUT_OF_MEMORY.search("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling")
    assert memory.OUT_OF_MEMORY.search("MPS backend out of memory (MPS allocated: 1 GB)")


def test_a_vocabulary_larger_than_the_card_exits_with_5(cli, tiny_text, tiny_options, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (1000, 2000))
    done = cli("train", "--run", "r", "--device", "cuda", *tiny_options)
    assert (done.code, done.out) == (5, "")
    said = "out of memory on cuda: the tables of 19 words take 0.0 GB, adagrad 0.0 GB"
    assert f"w2v: error: {said}, batches more, and 0.0 GB are free\n" in done.err
    assert not (tiny_text.parent / "r").exists()


def test_a_device_that_is_not_here_exits_with_2(cli, tiny_options, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    done = cli("train", "--device", "cuda", *tiny_options)
    assert (done.code, done.out) == (2, "")
    assert "w2v: error: train.device=cuda: torch " in done.err
