"""Where each of several processes stands in its share of the text: told in checkpoints.

A report, and how often the processes have met, enter the JSON of a checkpoint as `positions`, a
list by rank of [spans, steps, met]; from there each process has the `Place` that it goes on from.
The sums of the loss are told once, and gone on with by the first process. With another number of
processes a run can go on where all stand alike, at an epoch's end.
"""

import json
from typing import NamedTuple

from w2v.errors import ResumeError
from w2v.group import Group
from w2v.reporting import BEGINNING, Place, Report
from w2v.resume import Saved
from w2v.world import World

POSITIONS = "positions"  # in the `run` of a checkpoint


class Start(NamedTuple):
    """Where a process begins or goes on."""

    place: Place = BEGINNING
    met: int = 0  # meetings of that epoch


def told(group: Group, report: Report, *, met: int) -> dict[str, object]:
    """What a checkpoint tells of the processes; nothing of one. Raises `PeerError`."""
    if group.world.size == 1:
        return {}
    here = [report.place.spans, report.place.steps, 0 if report.epoch_ended else met]
    return {POSITIONS: [json.loads(of_one) for of_one in group.gather(json.dumps(here).encode())]}


def starts(saved: Saved | None, world: World) -> list[Start]:
    """Where each process begins, by rank.

    Raises:
        ResumeError: the checkpoint was made in the midst of an epoch by another number of them, or
            does not tell where they stood.
    """
    if saved is None:
        return [Start()] * world.size
    place = saved.state.report.place
    positions = saved.state.run.get(POSITIONS, [[place.spans, place.steps, 0]])
    if not _are_positions(positions):
        raise ResumeError(f"{saved.path} does not say where its processes stood")
    if len(positions) != world.size:
        if any(any(position) for position in positions):
            raise ResumeError(
                f"{saved.path} was made in the midst of an epoch by {_several(len(positions))}; "
                f"here are {world.size}",
                hint=f"go on with {_several(len(positions))}; an epoch's end fits any number",
            )
        positions = [[0, 0, 0]] * world.size
    first, *others = [
        Start(place._replace(spans=spans, steps=steps), met) for spans, steps, met in positions
    ]
    return [
        first,
        *(of._replace(place=of.place._replace(loss_sum=0.0, centers=0)) for of in others),
    ]


def _are_positions(told: object) -> bool:
    return isinstance(told, list) and all(
        isinstance(position, list)
        and len(position) == len(["spans", "steps", "met"])
        and all(type(number) is int and 0 <= number < 2**63 for number in position)
        for position in told
    )


def _several(number: int) -> str:
    return f"{number} process{'es' * (number > 1)}"
