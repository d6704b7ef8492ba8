"""JSON objects out of a stream of bytes: JSON-RPC 1.0 has neither delimiters nor lengths."""
import codecs
import json

WHITESPACE = " \t\r\n"  # RFC 7159, section 2


class NotJson(ValueError):
    """The stream is no sequence of JSON objects. str() is a literal of a piece, near the fault."""

    def __init__(self, stream, at=0):
        piece = stream[max(0, at - 20):][:40]
        ValueError.__init__(self, repr(piece) + ("..." if len(piece) < len(stream) else ""))


class Framer:
    """Cuts a stream of bytes, in whatever pieces it arrives, into JSON objects.

    JSON-RPC 1.0 has no delimiters and no lengths: only the closing brace tells the end. To try
    and decode at each piece would be quadratic. So the braces outside of strings are counted, by
    str methods alone, which run in C, and each character is decoded once.
    """

    def __init__(self, object_hook=None):
        """object_hook: as json.JSONDecoder's."""
        self._utf8 = codecs.getincrementaldecoder("utf-8")()  # keeps the start of a split character
        self._json = json.JSONDecoder(object_hook=object_hook)
        self._parts = []  # the text of the object that is not complete
        self._depth = 0  # its open braces
        self._in_string = False
        self._escape = ""  # the backslash that ended the last piece

    @property
    def partial(self):
        """Whether the beginning of an object is here and its end is not."""
        return bool(self._parts)

    def feed(self, data):
        """Take the next piece (bytes), return the objects that it completed (list of dict).

        Raises NotJson, and must not be fed after that.
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

    def _count(self, text):
        """Follow the braces through `text`; return how many objects it completed."""
        text = (self._escape + text).replace("\\\\", "")
        self._escape = "\\" if text.endswith("\\") else ""
        pieces = text.replace('\\"', "").split('"')  # outside and inside of strings, by turns
        outside = "".join(pieces[self._in_string::2])
        self._in_string ^= len(pieces) % 2 == 0
        self._depth += outside.count("{") - outside.count("}")
        # Inside an object there is always a comma between "}" and "{".
        return "".join(outside.split()).count("}{") + (self._depth <= 0)

    def _decode(self, count):
        text = "".join(self._parts)
        objects, at = [], 0
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
            except (ValueError, RecursionError) as error:  # the latter: some thousand levels deep
                raise NotJson(text, getattr(error, "pos", at))
            objects.append(value)
