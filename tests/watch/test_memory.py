"""What the watcher remembers of VIFs, and when it must look at a VIF again. The test sets the
clock."""
import pytest

from xenvif_tagger.core import mark
from xenvif_tagger.core.decision import DRIFT, ORPHAN, Decision
from xenvif_tagger.core.port import Change, Port
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


def decision(state, *ports, changes=()):
    return Decision(ports[0], ports[1] if ports[1:] else None, state, "", changes=changes)


CHANGE = Change("Port", "vif1.0", "tag", None, 5, 6)


def test_nothing_is_due_of_itself(memory, clock):
    assert memory.next_alarm() is None
    clock.now += 1e6
    assert memory.due() == []


def test_what_was_put_off_is_due_once(memory, clock):
    memory.retry_after(VIF, 30)
    memory.retry_after((2, 0), 40)
    assert memory.next_alarm() == 130
    clock.now = 129
    assert memory.due() == []
    clock.now = 130
    assert memory.due() == [VIF] and memory.due() == []
    assert memory.next_alarm() == 140


@pytest.mark.parametrize("what", ["note_write", "forget"])
def test_what_is_done_or_gone_is_not_due(memory, clock, what):
    memory.retry_after(VIF, 30)
    assert memory.note_lost_race(VIF) == 1 and memory.note_lost_race(VIF) == 2
    getattr(memory, what)(VIF)
    assert memory.next_alarm() is None and memory.lost_races == {}
    clock.now += 31
    assert memory.due() == []


def test_the_grace_of_an_orphan(memory, clock):
    """The memory has one alarm, at the end of the grace; another look does not begin the grace
    anew."""
    orphan = decision(ORPHAN, port())
    for clock.now in 100, 110:
        memory.note_orphan(VIF, orphan, 30)
        assert memory.next_alarm() == 130 and not memory.is_expired(VIF, port())
    clock.now = 130
    assert memory.due() == [VIF] and memory.due() == [] and memory.next_alarm() is None
    memory.note_orphan(VIF, orphan, 30)
    assert memory.is_expired(VIF, port())
    assert not memory.is_expired(VIF, port("another row"))  # the grace of this row has not begun


def test_another_row_has_a_grace_of_its_own(memory, clock):
    memory.note_orphan(VIF, decision(ORPHAN, port()), 30)
    clock.now = 120
    memory.note_orphan(VIF, decision(ORPHAN, port("another row")), 30)
    assert memory.next_alarm() == 150


@pytest.mark.parametrize("end", [
    lambda memory: memory.note_orphan(
        VIF, decision(DRIFT, port(), port("t", "tap1.0"), changes=[CHANGE]), 30),
    lambda memory: memory.note_orphan(VIF, decision("held", port()), 30),
    lambda memory: memory.note_orphan(VIF, decision(ORPHAN, port()), None),
    lambda memory: memory.forget(VIF)], ids=["sibling", "held", "no hold bridge", "gone"])
def test_a_grace_that_ends_early(memory, clock, end):
    memory.note_orphan(VIF, decision(ORPHAN, port()), 30)
    end(memory)
    clock.now += 31
    assert memory.next_alarm() is None and memory.due() == []
    assert not memory.is_expired(VIF, port())


def test_an_expired_grace_lasts_until_it_is_written(memory, clock):
    memory.note_orphan(VIF, decision(ORPHAN, port()), 30)
    clock.now += 31
    memory.due()
    memory.note_orphan(VIF, decision("held", port(), changes=[CHANGE]), 30)
    # The hold's write may fail: then the VIF is decided again.
    assert memory.is_expired(VIF, port())


def test_an_expired_grace_beside_what_was_put_off(memory, clock):
    memory.note_orphan(VIF, decision(ORPHAN, port()), 30)
    clock.now += 31
    memory.due()
    memory.retry_after((2, 0), 30)
    assert memory.next_alarm() == 161


def test_a_report_is_news_unless_it_was_the_last_one(memory):
    assert memory.note_report(VIF, ORPHAN, "a")
    assert not memory.note_report(VIF, ORPHAN, "a")
    assert memory.note_report(VIF, ORPHAN, "b")
    memory.note_nothing_to_report(VIF)
    assert memory.note_report(VIF, ORPHAN, "b")
    memory.forget(VIF)
    assert memory.note_report(VIF, ORPHAN, "b")
    assert memory.note_report((2, 0), ORPHAN, "b")


def test_since_when_it_is_held(memory, clock):
    held = Port("vif1.0", "u", "br0", {"tag": 4095}, {
        mark.KEY: mark.encode({"held": {"tag": 4095}})}, {})
    for clock.now in 100, 110:
        memory.note_held(VIF, [port(), held])
    assert memory.held() == {VIF: 10}
    memory.note_held(VIF, [port()])
    assert memory.held() == {}
    memory.note_held(VIF, [held])
    memory.forget(VIF)
    assert memory.held() == {}
