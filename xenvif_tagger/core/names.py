"""The names of a VIF's ports, and the VIF's number in each name (docs/design.md 4.1).

NIC number N of the guest in domain D has the port ``vif<D>.<N>`` (netback, the PV path). The NIC
that QEMU emulates for the same guest has the port ``tap<D>.<N>`` (XenServer, XCP-ng) or
``vif<D>.<N>-emu`` (libxl); a port with either name is called the *tap* side here.
"""
MYPY = False
if MYPY:
    from typing import Optional, Tuple

VIF = "vif"
TAP = "tap"
SIDES = (VIF, TAP)
OTHER = {VIF: TAP, TAP: VIF}
_EMULATED = "-emu"
_DIGITS = frozenset("0123456789")


def _number(text: str) -> "Optional[int]":
    """The text as an int, or None for a text that no toolstack writes for a number: with a sign, or
    with a leading 0."""
    if not text or not _DIGITS.issuperset(text) or (text[0] == "0" and text != "0"):
        return None
    return int(text)


def parse(name: str) -> "Optional[Tuple[int, int, str]]":
    """Read the VIF's number and the side from a port's name.

    :param str name: a port's or network device's name
    :returns: ``(domid, devid, side)``, two ints and ``"vif"`` or ``"tap"``; None for any other name

    >>> parse("vif12.0"), parse("tap12.0"), parse("vif12.0-emu")
    ((12, 0, 'vif'), (12, 0, 'tap'), (12, 0, 'tap'))
    >>> [parse(name) for name in ("vif12.0x", "vif012.0", "tap12.0-emu", "vif12", "vif-1.0")]
    [None, None, None, None, None]
    """
    side = name[:3]
    if side not in SIDES:
        return None
    digits, dot, rest = name[3:].partition(".")
    if not dot:
        return None
    if side == VIF and rest.endswith(_EMULATED):
        side = TAP
        rest = rest[:-len(_EMULATED)]
    domid = _number(digits)
    devid = _number(rest)
    if domid is None or devid is None:
        return None
    return domid, devid, side


def parse_known(name: str) -> "Tuple[int, int, str]":
    """As parse, for the name of a port that is known to be a VIF's.

    :raises ValueError: for any other name
    """
    parsed = parse(name)
    if parsed is None:
        raise ValueError("%r does not name a VIF's port" % name)
    return parsed


def names_of(domid: int, devid: int) -> "Tuple[str, str, str]":
    """Every name that a port of this VIF can have: the vif's, then the two of the tap side."""
    vif = "vif%d.%d" % (domid, devid)
    return vif, "tap%d.%d" % (domid, devid), vif + _EMULATED
