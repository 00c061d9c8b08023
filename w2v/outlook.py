"""What a run folder promises before anything is done: a new run, one to go on with, one at its end.

A run folder, the config and this process's place in the world enter; an `Outlook` leaves, in plain
values, so that the first of several processes can tell it to the others.
"""

from typing import Any, NamedTuple

from w2v import locks, pretrained
from w2v.config import Config
from w2v.positions import starts
from w2v.preflight import require_writable
from w2v.record import ORIGIN
from w2v.resume import is_complete, newest, require_none, require_same
from w2v.resume import settings as settings_of
from w2v.rundir import RunDir
from w2v.states import complete
from w2v.world import World


class Outlook(NamedTuple):
    """What the run folder holds before anything is done."""

    is_complete: bool
    goes_on: bool  # from a checkpoint
    origin: dict[str, Any] | None  # of the vectors that the checkpoint's run started from


def look(run_dir: RunDir, config: Config, world: World, force: bool, resume: bool) -> Outlook:
    """Looks whether a run can begin in its folder, or go on; nothing is changed there.

    Processes that torchrun started anew go on where they can, unless `force` is set.

    Raises:
        StorageError, ResumeError, DataError, ConfigError: as `training.prepare_run` says.
    """
    again = world.restarts > 0 and not force
    if (resume or again) and is_complete(run_dir, config):
        return Outlook(is_complete=True, goes_on=False, origin=None)
    locks.require_free(run_dir.path)
    saved = None
    if resume or (again and complete(run_dir.checkpoints)):
        saved = newest(run_dir.checkpoints)
        require_same(saved, {"settings": settings_of(config)})
        starts(saved, world)
    else:
        require_place(run_dir, force=force)
        if config.model.init_from is not None:
            pretrained.require_fit(config.model.init_from, dim=config.model.dim)
    require_writable(run_dir.path)
    origin = None if saved is None else saved.state.run.get(ORIGIN)
    return Outlook(is_complete=False, goes_on=saved is not None, origin=origin)


def require_place(run_dir: RunDir, *, force: bool) -> None:
    """Refuses to train over a run, finished or not, that somebody may want, unless `force`."""
    run_dir.require_free(force=force)
    if not force:
        require_none(run_dir)
