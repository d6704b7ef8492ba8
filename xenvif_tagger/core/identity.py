"""Whether two rows are the same VIF's, and whether a row may lend (docs/design.md 4.3)."""

MYPY = False
if MYPY:
    from typing import Dict, Mapping, Optional

    from .port import Port

# PROOF: external_ids keys. If both rows have the same value of one of these keys, the rows are the
# same VIF's. KEYS: keys on which the two rows must not contradict each other.
PROOF = ("xs-vif-uuid", "xen-vm-uuid", "attached-mac")
KEYS = PROOF + ("xs-vm-uuid", "xs-network-uuid")


def keys_of(ids: "Mapping[str, str]") -> "Dict[str, str]":
    """The identity keys among an Interface's external_ids, with their values."""
    return {key: ids[key] for key in KEYS if key in ids}


def stamp_of(ids: "Mapping[str, str]") -> "Dict[str, str]":
    """The identity for the stamp (the mark's ``vif``) of a row with these Interface external_ids:
    as few keys as prove the VIF; {} where no key does.

    The stamp has no further key, because ovs-xapi-sync overwrites the further keys of any tap that
    has the VIF's number (openvswitch/ovs branch-2.5,
    xenserver/usr_share_openvswitch_scripts_ovs-xapi-sync).
    """
    if PROOF[0] in ids:
        return {PROOF[0]: ids[PROOF[0]]}
    return {key: ids[key] for key in PROOF[1:] if key in ids}


def contradiction(one: "Mapping[str, str]", other: "Mapping[str, str]") -> "Optional[str]":
    """The first identity key that both dicts have with different values, or None.

    The case of letters in attached-mac does not count.
    """
    for key in KEYS:
        if key in one and key in other and one[key] != other[key]:
            if key != "attached-mac" or one[key].lower() != other[key].lower():
                return key
    return None


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
    # For a row without identity keys its stamp counts: the row has the sibling's identity in the
    # stamp if the row has followed this sibling before.
    vif_keys, tap_keys = (
        keys_of(port.ids["Interface"]) or port.mark.get("vif", {}) for port in (vif, tap))
    if not any(key in vif_keys and key in tap_keys for key in PROOF):
        takers = [port for port, own_keys, sibling_keys in ((vif, vif_keys, tap_keys),
                                                            (tap, tap_keys, vif_keys))
                  if not own_keys and _has_no_unit(port) and not port.gone
                  and any(key in sibling_keys for key in PROOF)]
        if not takers or takers[0].managed:
            return "nothing proves that the ports are one VIF's: none of %s is on both" % (
                ", ".join(PROOF))
    return None


def _has_no_unit(port: "Port") -> bool:
    """Whether the port's VLAN unit is empty, or is only the form of a held port."""
    return not port.unit or "held" in port.mark


def may_lend(port: "Port", boot: str) -> bool:
    """Whether a row's VLAN unit and external_ids may be given to its sibling.

    A row that a guest has left behind may not lend: neither one that was first seen in an earlier
    boot of the host, nor one whose device was gone at every look. A row without identity keys may
    not lend either.

    :param str boot: the id of the host's present boot
    """
    if "vif" in port.mark and port.mark.get("boot"):
        seen_alive = port.mark["boot"] == boot
    else:
        seen_alive = not port.gone
    return seen_alive and bool(keys_of(port.ids["Interface"]))
