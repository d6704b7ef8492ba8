"""JSON objects out of a stream of bytes: JSON-RPC 1.0 has neither delimiters nor lengths."""
import codecs
import json

MYPY = False
if MYPY:
    from typing import Any, Callable, Dict, List, Optional

WHITESPACE = " \t\r\n"  # RFC 7159, section 2


class NotJson(ValueError):
    """A stream, or a value, is no sequence of JSON objects.

    str() shows, as a literal, the 40 characters round position `at`, where the fault is.
    """

    def __init__(self, stream: "Any", at: int = 0) -> None:
        """stream: the str or bytes that has the fault; at: the position of the fault."""
        piece = stream[max(0, at - 20):][:40]
        ValueError.__init__(self, repr(piece) + ("..." if len(piece) < len(stream) else ""))


class Framer:
    """Cuts a stream of bytes, in whatever pieces it arrives, into JSON objects.

    JSON-RPC 1.0 has no delimiters and no lengths: only an object's closing brace tells its end. To
    try a decoder at each new piece would take quadratic time. So the Framer counts the braces
    outside of strings, by str methods alone, which run in C, and decodes each character once.
    """

    def __init__(self,
                 object_hook: "Optional[Callable[[Dict[str, Any]], Any]]" = None) -> None:
        """object_hook: as json.JSONDecoder's."""
        self._utf8 = codecs.getincrementaldecoder("utf-8")()  # keeps the start of a split character
        self._json = json.JSONDecoder(object_hook=object_hook)
        self._parts: "List[str]" = []  # the text of the object that is not complete
        self._depth = 0  # the open braces of that object
        self._in_string = False
        self._escape = ""  # the backslash that ended the last piece

    @property
    def partial(self) -> bool:
        """Whether the beginning of an object has come and its end has not."""
        return bool(self._parts)

    def feed(self, data: bytes) -> "List[Dict[str, Any]]":
        """Take the next piece, return the objects that it completed.

        Raises NotJson; nobody may feed this Framer after that.
        """
        try:
            text = self._utf8.decode(data)
        except UnicodeDecodeError as error:
            raise NotJson(error.object, error.start)
        if not self._parts:
            text = text.lstrip(WHITESPACE)
            if text and text[0] != "{":
                raise NotJson(text)
        self._parts += [text] if text else []
        complete = self._count(text) if text else 0
        return self._decode(complete) if complete else []

    def _count(self, text: str) -> int:
        """Follow the braces through `text`; return how many objects the text completes."""
        text = (self._escape + text).replace("\\\\", "")
        self._escape = "\\" if text.endswith("\\") else ""
        pieces = text.replace('\\"', "").split('"')  # outside and inside of strings, by turns
        outside = "".join(pieces[self._in_string::2])
        self._in_string ^= len(pieces) % 2 == 0
        self._depth += outside.count("{") - outside.count("}")
        # Inside an object there is always a comma between "}" and "{", so "}{" is where one object
        # ends and the next one begins.
        return "".join(outside.split()).count("}{") + (self._depth <= 0)

    def _decode(self, count: int) -> "List[Dict[str, Any]]":
        """Decode the `count` complete objects, keep the text of the next one."""
        text = "".join(self._parts)
        objects: "List[Dict[str, Any]]" = []
        at = 0
        while True:
            while text[at:at + 1] and text[at] in WHITESPACE:
                at += 1
            if at < len(text) and text[at] != "{":
                raise NotJson(text, at)
            if len(objects) == count:
                self._parts = [text[at:]] if at < len(text) else []
                return objects
            try:
                value, at = self._json.raw_decode(text, at)
            except (ValueError, RecursionError) as error:  # RecursionError: thousands of levels
                raise NotJson(text, getattr(error, "pos", at))
            objects.append(value)
