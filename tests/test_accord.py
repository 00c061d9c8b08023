import pytest
from peers import together

from w2v.accord import agree, decided, require_alike
from w2v.errors import ConfigError, DataError, StorageError
from w2v.group import Alone


def test_alone_a_failure_is_ones_own():
    def fail():
        raise DataError("no text", hint="write some")

    assert agree(Alone(), lambda: 7) == 7
    with pytest.raises(DataError, match="no text") as caught:
        agree(Alone(), fail)
    assert not caught.value.is_told


def outcomes(size, failing):
    """What `agree` raises in each process where some fail."""

    def work():
        raise StorageError("disk full", hint="make room")

    def one(group):
        try:
            return agree(group, work if group.world.rank in failing else lambda: group.world.rank)
        except Exception as error:
            return error

    return together(size, one)


def test_a_failure_of_one_is_told_by_the_first_alone():
    assert outcomes(3, failing=()) == [0, 1, 2]
    for failing in ({0}, {2}, {1, 2}, {0, 1, 2}):
        errors = outcomes(3, failing=failing)
        assert [error.exit_code for error in errors] == [5, 5, 5]
        assert [error.is_told for error in errors] == [False, True, True]
        expected = "disk full" if 0 in failing else f"rank {min(failing)}: disk full"
        assert str(errors[0]) == expected
        assert errors[0].hint == "make room"


def test_what_the_first_finds_is_told_to_all():
    found = together(3, lambda group: decided(group, lambda: {"rank": group.world.rank}))
    assert found == [{"rank": 0}] * 3


def test_those_who_differ_are_refused_with_what_differs():
    def one(group):
        told = {"train.lr": 0.1 + group.world.rank // 2, "model.dim": 8, "text": "a"}
        try:
            require_alike(group, told, error=ConfigError, hint="make them equal")
        except ConfigError as error:
            return error
        return None

    assert together(2, one) == [None, None]
    errors = together(3, one)
    assert str(errors[0]) == "rank 2: train.lr is 1.1, 0.1 in rank 0"
    assert [error.exit_code for error in errors] == [2, 2, 2]
    assert errors[0].hint == "make them equal"
