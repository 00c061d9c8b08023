"""What processes must agree on before they train together: no failure in any, equal settings.

Work that can fail, or what a process goes by, enters; what all go on with leaves, or the same
failure in all of them, which the first one tells. What is exchanged is JSON, never pickled.
"""

import json
from collections.abc import Callable, Mapping
from typing import TypeVar

from w2v.errors import W2VError
from w2v.group import Group

Result = TypeVar("Result")


def agree(group: Group, work: Callable[[], Result]) -> Result:
    """Does `work`; where it fails in one process, it fails in all, and the first one tells.

    Raises:
        W2VError: this process's, or as the first that failed has it.
    """
    failure, result = None, None
    try:
        result = work()
    except W2VError as error:
        failure = error
    told = "" if failure is None else json.dumps([failure.exit_code, str(failure), failure.hint])
    heard = group.gather(told.encode())
    failed = [rank for rank, of_one in enumerate(heard) if of_one]
    if not failed:
        return result  # type: ignore[return-value]  # the result of a work that did not fail
    if failure is None:
        code, message, hint = json.loads(heard[failed[0]])
        failure = _kind(code)(f"rank {failed[0]}: {message}", hint=hint)
    failure.is_told = not group.world.is_first
    raise failure


def decided(group: Group, work: Callable[[], Result]) -> Result:
    """What `work` finds in the first process, told to all as JSON; the others do none.

    Raises:
        W2VError: as `agree` does.
    """
    found = agree(group, lambda: work() if group.world.is_first else None)
    told = group.gather(json.dumps(found).encode())[0]
    result: Result = json.loads(told)
    return result


def require_alike(
    group: Group, told: Mapping[str, object], *, error: type[W2VError], hint: str
) -> None:
    """Refuses processes that do not all tell the same.

    Raises:
        W2VError: an `error` with all that differs from what the first one tells.
    """
    here: dict[str, object] = json.loads(json.dumps(told))
    first = json.loads(group.gather(json.dumps(here).encode())[0])
    differing = [
        f"{name} is {json.dumps(here.get(name))}, {json.dumps(first.get(name))} in rank 0"
        for name in {**first, **here}
        if here.get(name) != first.get(name)
    ]

    def compare() -> None:
        if differing:
            raise error("; ".join(differing), hint=hint)

    agree(group, compare)


def _kind(exit_code: int) -> type[W2VError]:
    """The errors that have this exit code."""
    kinds = (kind for kind in W2VError.__subclasses__() if vars(kind).get("exit_code") == exit_code)
    return next(kinds, W2VError)
