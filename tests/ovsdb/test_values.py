"""Values in OVSDB's notation."""
import pytest

from xenvif_tagger.ovsdb.rows import from_map, from_set, from_uuid, to_map, to_set, uuid


def test_sets():
    assert from_set(["set", []]) == []
    assert from_set(["set", [1, 2]]) == [1, 2]
    assert from_set(5) == [5]
    assert from_set("set") == ["set"]
    assert from_set(["uuid", "a"]) == [["uuid", "a"]]
    assert from_set(["set", [["uuid", "a"]]]) == [["uuid", "a"]]
    assert to_set(iter("ab")) == ["set", ["a", "b"]]


def test_maps():
    assert from_map(["map", []]) == {}
    assert from_map(["map", [["a", "b"]]]) == {"a": "b"}
    assert to_map({"b": "2", "a": "1"}) == ["map", [["a", "1"], ["b", "2"]]]
    assert to_map({}) == ["map", []]


def test_uuids():
    assert uuid("a") == ["uuid", "a"]
    assert from_uuid(["uuid", "a"]) == "a"


@pytest.mark.parametrize("value", [5, "a", ["set", []], None, []])
def test_a_value_that_is_no_map_and_no_uuid_is_an_error(value):
    for read in (from_map, from_uuid):
        with pytest.raises(ValueError):
            read(value)
