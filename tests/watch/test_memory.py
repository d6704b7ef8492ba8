"""The watcher's memory of VIFs, and the time at which the watcher must look at a VIF again. The
tests set the clock."""
import pytest

from xenvif_tagger.core import mark
from xenvif_tagger.core.decision import ORPHAN
from xenvif_tagger.core.port import Port
from xenvif_tagger.watch.memory import Memory

VIF = 1, 0


class Clock(object):
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def memory(clock):
    return Memory(clock)


def port(uuid="u", name="vif1.0"):
    return Port(name, uuid, "br0", {"tag": 5}, {}, {})


def test_a_fresh_memory_has_no_vif_that_is_due(memory, clock):
    assert memory.next_alarm() is None
    clock.now += 1e6
    assert memory.due() == []


def test_a_vif_put_off_is_due_once(memory, clock):
    memory.retry_after(VIF, 30)
    memory.retry_after((2, 0), 40)
    assert memory.next_alarm() == 130
    clock.now = 129
    assert memory.due() == []
    clock.now = 130
    assert memory.due() == [VIF] and memory.due() == []
    assert memory.next_alarm() == 140


@pytest.mark.parametrize("what", ["note_write", "forget"])
def test_a_vif_that_is_done_or_gone_is_not_due(memory, clock, what):
    memory.retry_after(VIF, 30)
    assert memory.note_lost_race(VIF) == 1 and memory.note_lost_race(VIF) == 2
    getattr(memory, what)(VIF)
    assert memory.next_alarm() is None and memory.lost_races == {}
    clock.now += 31
    assert memory.due() == []


def test_another_look_does_not_begin_the_grace_anew(memory, clock):
    """The memory has one alarm, at the end of the first look's grace."""
    for clock.now in 100, 110:
        memory.note_orphans(VIF, [port()], 30)
        assert memory.next_alarm() == 130 and memory.expired(VIF) == []
    clock.now = 130
    assert memory.due() == [VIF] and memory.due() == [] and memory.next_alarm() is None
    memory.note_orphans(VIF, [port()], 30)
    assert memory.expired(VIF) == ["u"] and memory.expired((2, 0)) == []


def test_another_row_has_a_grace_of_its_own(memory, clock):
    memory.note_orphans(VIF, [port()], 30)
    clock.now = 120
    memory.note_orphans(VIF, [port("another row")], 30)
    assert memory.next_alarm() == 150
    clock.now = 130  # the end of the first row's grace
    assert memory.due() == [] and memory.expired(VIF) == []


def test_a_new_row_of_the_same_name_has_a_new_grace(memory, clock):
    memory.note_orphans(VIF, [port()], 30)
    clock.now = 130
    assert memory.due() == [VIF] and memory.expired(VIF) == ["u"]
    memory.note_orphans(VIF, [port("another row")], 30)
    assert memory.expired(VIF) == [] and memory.next_alarm() == 160


def test_two_orphans_of_one_vif(memory, clock):
    """Both rows of a refused pair may be orphans: each has its own grace, and one alarm."""
    memory.note_orphans(VIF, [port()], 30)
    clock.now = 110
    both = [port(), port("t", "tap1.0")]
    memory.note_orphans(VIF, both, 30)
    for clock.now, expired in (130, ["u"]), (140, ["t", "u"]):
        assert memory.next_alarm() == clock.now
        assert memory.due() == [VIF] and memory.due() == []
        memory.note_orphans(VIF, both, 30)
        assert sorted(memory.expired(VIF)) == expired
    memory.note_orphans(VIF, both[1:], 30)
    assert memory.expired(VIF) == ["t"]


@pytest.mark.parametrize("end", [
    lambda memory: memory.note_orphans(VIF, [], 30),
    lambda memory: memory.forget(VIF)], ids=["no orphan on a listed bridge", "gone"])
@pytest.mark.parametrize("seconds", [0, 31])
def test_a_row_that_is_no_orphan_any_more_has_no_grace(memory, clock, end, seconds):
    """The row stops being an orphan before the end of the grace, or after."""
    memory.note_orphans(VIF, [port()], 30)
    clock.now += seconds
    assert memory.due() == ([VIF] if seconds else [])
    end(memory)
    clock.now += 31
    assert memory.next_alarm() is None and memory.due() == []
    assert memory.expired(VIF) == []


def test_an_expired_grace_lasts_until_the_hold_is_written(memory, clock):
    memory.note_orphans(VIF, [port()], 30)
    clock.now += 31
    memory.due()
    # The hold's write may fail: then the VIF is decided again, and the row still is an orphan.
    for _ in range(2):
        memory.note_orphans(VIF, [port()], 30)
        assert memory.expired(VIF) == ["u"] and memory.next_alarm() is None


def test_an_expired_grace_does_not_hide_the_alarm_of_another_vif(memory, clock):
    memory.note_orphans(VIF, [port()], 30)
    clock.now += 31
    memory.due()
    memory.retry_after((2, 0), 30)
    assert memory.next_alarm() == 161


def test_a_report_is_news_unless_it_equals_the_last_report(memory):
    assert memory.note_report(VIF, ORPHAN, "a")
    assert not memory.note_report(VIF, ORPHAN, "a")
    assert memory.note_report(VIF, ORPHAN, "b")
    memory.note_nothing_to_report(VIF)
    assert memory.note_report(VIF, ORPHAN, "b")
    memory.forget(VIF)
    assert memory.note_report(VIF, ORPHAN, "b")
    assert memory.note_report((2, 0), ORPHAN, "b")


HELD = Port("vif1.0", "u", "br0", {"tag": 4095}, {
    mark.KEY: mark.encode({"held": {"tag": 4095}})}, {})
UNBOUND = Port("vif1.0", "u", "br0", {}, {}, {"iface-id": "port-1"})
BOUND = Port("tap1.0", "t", "br0", {"tag": 5}, {}, {}, {"net_uuid": "net-1"})


@pytest.mark.parametrize("method, is_so, is_not_so", [
    ("held", [port(name="tap1.0"), HELD], [port()]),
    # The agent has bound the VIF's other port.
    ("unbound", [port(name="tap1.0"), UNBOUND], [UNBOUND, BOUND]),
    ("unbound", [UNBOUND], [port()])])
def test_since_when_a_port_is_held_or_unbound(memory, clock, method, is_so, is_not_so):
    def seconds():
        other = {"held": memory.unbound, "unbound": memory.held}[method]
        assert other() == {}
        return getattr(memory, method)()

    for clock.now in 100, 110:
        memory.note_ports(VIF, is_so)
    assert seconds() == {VIF: 10}
    memory.note_ports(VIF, is_not_so)
    assert seconds() == {}
    clock.now = 115
    memory.note_ports(VIF, is_so)
    assert seconds() == {VIF: 0}
    memory.forget(VIF)
    assert seconds() == {}
