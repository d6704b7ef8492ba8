"""Whether two rows are one VIF's, and which of them may lend to the other (docs/design.md 4.3)."""

from . import names

MYPY = False
if MYPY:
    from typing import Dict, Iterable, List, Mapping, Optional, Tuple

    from .port import Port

# PROOF: external_ids keys. If both rows have the same value of one of these keys, the rows are the
# same VIF's. KEYS: keys on which the two rows must not contradict each other.
PROOF = ("xs-vif-uuid", "xen-vm-uuid", "attached-mac")
KEYS = PROOF + ("xs-vm-uuid", "xs-network-uuid")


def keys_of(ids: "Mapping[str, str]") -> "Dict[str, str]":
    """The identity keys in an Interface's external_ids (dict)."""
    return {key: ids[key] for key in KEYS if key in ids}


def stamp_of(ids: "Mapping[str, str]") -> "Dict[str, str]":
    """The identity for the stamp (the mark's ``vif``) of a row with these Interface external_ids:
    as few keys as prove the VIF; {} where no key proves the VIF.

    The stamp has no further key, because ovs-xapi-sync overwrites the further keys of any tap that
    has the VIF's number (openvswitch/ovs branch-2.5,
    xenserver/usr_share_openvswitch_scripts_ovs-xapi-sync).
    """
    if PROOF[0] in ids:
        return {PROOF[0]: ids[PROOF[0]]}
    return {key: ids[key] for key in PROOF[1:] if key in ids}


def contradiction(one: "Mapping[str, str]", other: "Mapping[str, str]") -> "Optional[str]":
    """The first identity key that both dicts have with different values, or None.

    A MAC is the same in either case of letters.
    """
    for key in KEYS:
        if key in one and key in other and one[key] != other[key]:
            if key != "attached-mac" or one[key].lower() != other[key].lower():
                return key
    return None


def unpaired(interfaces: "Iterable[Tuple[str, Mapping[str, str]]]") -> "List[List[str]]":
    """The Interfaces of libxl that have one NIC's MAC, though their names are no pair: those of a
    NIC with vifname=, and those of a guest and its stub domain.

    :param interfaces: the name and the external_ids of every Interface
    :returns: lists of names, sorted
    """
    by_mac: "Dict[str, List[Tuple[str, str]]]" = {}  # MAC -> name and VM of each Interface
    for name, ids in interfaces:
        if ids.get("xen-vm-uuid") and ids.get("attached-mac"):
            by_mac.setdefault(ids["attached-mac"].lower(), []).append((name, ids["xen-vm-uuid"]))
    groups: "List[List[str]]" = []
    for rows in by_mac.values():
        parsed = [names.parse(name) for name, _ in rows]
        vifs = {parts[:2] if parts else None for parts in parsed}
        # In a local migration one VM has two domains, with a pair each.
        is_migration = None not in vifs and len({vm for _, vm in rows}) == 1
        if len(rows) > 1 and vifs != {parsed[0] and parsed[0][:2]} - {None} and not is_migration:
            groups.append(sorted(name for name, _ in rows))
    return sorted(groups)


def refusal(vif: "Port", tap: "Port") -> "Optional[str]":
    """Why two ports must not be treated as siblings, in words; None if no rule forbids the pair.

    :param Port vif, tap: the two rows as they stand
    """
    if vif.bridge != tap.bridge:
        return "%s is on bridge %s and %s on %s" % (vif.name, vif.bridge, tap.name, tap.bridge)
    ids = vif.ids["Interface"], tap.ids["Interface"]
    key = contradiction(*ids)
    if key:
        return "the ports are of different VIFs: %s is %s on %s and %s on %s" % (
            key, ids[0][key], vif.name, ids[1][key], tap.name)
    for port, sibling in ((vif, tap), (tap, vif)):
        stamp = port.mark.get("vif", {})
        if contradiction(stamp, port.ids["Interface"]):
            return ("%s was plugged for another VIF than its external_ids name now: plug the port "
                    "anew" % port.name)
        if (contradiction(stamp, sibling.ids["Interface"])
                or contradiction(stamp, sibling.mark.get("vif", {}))):
            return "%s was plugged for another VIF than %s" % (port.name, sibling.name)
    if not any(key in ids[0] and key in ids[1] for key in PROOF):
        return "nothing proves that the ports are one VIF's: none of %s is on both" % (
            ", ".join(PROOF))
    return None


def may_lend(port: "Port", boot: str) -> bool:
    """Whether a row's VLAN unit and external_ids may be given to its sibling.

    A living row may lend. A row whose device is gone may lend only if the row was seen alive since
    the host booted: else another guest of the same domain number may have left the row behind. A
    row whose device is gone may not lend, either, if the row is the agent's own, and the agent has
    the row's tag in use for another network.

    :param str boot: the id of the host's present boot
    """
    return not port.gone or "vif" in port.mark and port.mark.get("boot") == boot and not (
        port.managed and port.rivals - {port.network})
