"""The framer finds JSON objects in a stream of bytes, whatever pieces the bytes come in."""
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xenvif_tagger.ovsdb.client import Framer, NotJson

ATOMS = st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from(
    ["{", "}", "}{", '"', "\\", '\\"', "\\\\", '{"a": "}', "ü", "𝄞", "\ud800"]
)
VALUES = st.recursive(
    ATOMS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.text(), VALUES, max_size=4)


@given(st.data(), st.lists(OBJECTS, max_size=5), st.booleans())
def test_any_objects_in_any_pieces_come_out_the_same(data, objects, escaped):
    gap = st.text(" \t\r\n", max_size=2)
    stream = b""
    for item in objects:
        text = json.dumps(item, ensure_ascii=escaped or "\\ud800" in json.dumps(item))
        stream += (data.draw(gap) + text + data.draw(gap)).encode("utf-8")
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=12))
    cuts = [0] + sorted(cuts) + [len(stream)]
    framer = Framer()
    received = []
    for start, end in zip(cuts, cuts[1:]):
        received += framer.feed(stream[start:end])
    assert received == objects
    assert not framer.partial


@given(OBJECTS, OBJECTS)
def test_an_object_is_returned_with_its_last_byte_whatever_follows(first, second):
    first, second = json.dumps(first).encode(), json.dumps(second).encode()
    for end in range(len(second)):
        framer = Framer()
        assert framer.feed(first + second[:end]) == [json.loads(first.decode())]
        assert framer.partial == (end > 0)


@given(OBJECTS)
def test_byte_by_byte_an_object_is_returned_with_its_last_byte(item):
    stream = json.dumps(item).encode()
    framer = Framer()
    for number in range(len(stream) - 1):
        assert framer.feed(stream[number : number + 1]) == []
    assert framer.feed(stream[-1:]) == [item]


@pytest.mark.parametrize(
    "stream",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"[]",
        b'[{"a": 5',
        b"5",
        b'"{}"',
        b"null",
        b"\x15\x03\x01\x00\x02",  # a TLS alert
        b"\xff\xfe",
        b'{"a": "\xff"}',
        b"{]}",
        b"{'a': 1}",
        b'{"a" 1}',
        b"{}}",
        b"{}5",
        b"{}5{}",
        b"{} 5 {}{}",
        b'{}"x"{}',
        b'{"a": {}{}}',
        b'{"a": "line\nbreak"}',
    ],
)
def test_garbage_is_an_error_at_once(stream):
    with pytest.raises(NotJson):
        Framer().feed(stream)
    framer = Framer()
    with pytest.raises(NotJson):
        for number in range(len(stream)):
            framer.feed(stream[number : number + 1])


def test_the_error_shows_the_garbage_near_the_fault():
    with pytest.raises(NotJson) as caught:
        Framer().feed(b'{"a": "' + 500 * b"x" + b'", here}')
    assert "here" in str(caught.value)
    assert len(str(caught.value)) < 60


@pytest.mark.parametrize("opening, closing", [("[", "]"), ('{"a":', "}")])
def test_nesting_of_any_depth_is_garbage_not_a_crash(opening, closing):
    depth = 200000
    stream = '{"x":' + depth * opening + "1" + depth * closing + "}"
    with pytest.raises(NotJson):
        Framer().feed(stream.encode())


def test_lone_surrogates_come_through():
    assert Framer().feed(b'{"a": "\\ud800"}') == [{"a": "\ud800"}]
