import pytest

from w2v.errors import ConfigError
from w2v.world import ALONE, World, world_of

FULL = {"RANK": "1", "WORLD_SIZE": "4", "MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "29500"}


def test_without_the_variables_a_process_is_alone():
    assert world_of({}) == ALONE == World()
    assert world_of({"MASTER_ADDR": "somewhere", "MASTER_PORT": "x"}) == ALONE
    assert world_of({"RANK": "0", "WORLD_SIZE": "1"}) == ALONE
    assert ALONE.is_first
    assert ALONE.is_first_here


def test_what_torchrun_sets():
    more = {"LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "TORCHELASTIC_RESTART_COUNT": "3"}
    world = world_of(FULL | more)
    assert world == World(1, 4, 1, 2, 3, "10.0.0.1", 29500)
    assert not world.is_first
    assert not world.is_first_here


def test_a_process_has_a_host_of_its_own_unless_told():
    world = world_of(FULL)
    assert (world.local_rank, world.local_size) == (0, 1)
    assert world.is_first_here
    assert not world.is_first


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"MASTER_ADDR": None}, "RANK=1 is set, MASTER_ADDR is not"),
        ({"MASTER_ADDR": ""}, "RANK=1 is set, MASTER_ADDR is not"),
        ({"MASTER_PORT": None}, "RANK is set, MASTER_PORT is not"),
        ({"WORLD_SIZE": None}, "RANK is set, WORLD_SIZE is not"),
        ({"RANK": None}, "WORLD_SIZE is set, RANK is not"),
        ({"WORLD_SIZE": "0"}, "WORLD_SIZE='0': expected a number from 1 to 65535"),
        ({"RANK": "4"}, "RANK='4': expected a number from 0 to 3"),
        ({"RANK": "-1"}, "RANK='-1': expected a number from 0 to 3"),
        ({"RANK": "one"}, "RANK='one': expected a number from 0 to 3"),
        ({"RANK": "٣"}, "RANK='٣': expected a number from 0 to 3"),
        ({"MASTER_PORT": "65536"}, "MASTER_PORT='65536': expected a number from 1 to 65535"),
        ({"LOCAL_RANK": "1"}, "LOCAL_RANK='1': expected a number from 0 to 0"),
        ({"LOCAL_WORLD_SIZE": "5"}, "LOCAL_WORLD_SIZE='5': expected a number from 1 to 4"),
    ],
)
def test_what_contradicts_itself_is_told(changes, message):
    environment = {name: value for name, value in (FULL | changes).items() if value is not None}
    with pytest.raises(ConfigError) as caught:
        world_of(environment)
    assert str(caught.value) == message
