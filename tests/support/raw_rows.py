"""Strategies by which hypothesis draws any two rows."""
from hypothesis import strategies as st

from support.constants import HELD, NEUTRON
from support.rows import BOOT, IDENTITY, TAP_UUID, VIF_UUID, base, row, unit

OTHER = {"vif": "tap", "tap": "vif"}
UUIDS = {"vif": VIF_UUID, "tap": TAP_UUID}
EXCLUDED = "secret"
ETHTYPE = "other_config:qinq-ethtype"
units = st.one_of(
    st.just({}), st.sampled_from([HELD, unit(5), unit(4095), dict(unit(5), **{ETHTYPE: "802.1q"}),
                                  {ETHTYPE: "802.1q"}, unit(5, "dot1q-tunnel", cvlans=[10])]),
    st.builds(unit, st.sampled_from([None, 0, 5, 6, 4095]),
              st.sampled_from([None, "trunk", "access", "native-untagged", "dot1q-tunnel"]),
              st.sampled_from([[], [4095], [5, 6]]), st.sampled_from([[], [4095]])))
# Few keys and few values, so that two rows often have the same keys and values.
free_ids = st.dictionaries(
    st.sampled_from(["iface-id", "vm-id", "x", EXCLUDED + "1", "iface-status", "ovn-installed-ts"]),
    st.sampled_from(["", "1", "2"]), max_size=4)
identities = st.one_of(
    st.just(IDENTITY), st.just(IDENTITY), st.just({}),
    st.just(dict(IDENTITY, **{"attached-mac": "00:16:3E:00:00:0A"})),
    st.just(dict(IDENTITY, **{"xs-vif-uuid": "vif-b"})),
    st.just({"xen-vm-uuid": "vm-a", "attached-mac": "00:16:3e:00:00:0a"}),
    st.just({"xs-vm-uuid": "vm-a"}))


@st.composite
def marks(draw, side):
    made = {}
    if draw(st.booleans()):
        made["vif"] = draw(st.sampled_from([{"xs-vif-uuid": "vif-a"}, {"xs-vif-uuid": "vif-b"}]))
        made["boot"] = draw(st.sampled_from([BOOT, "boot-before"]))
    if draw(st.booleans()):
        made["base"] = base(
            draw(units), draw(st.sampled_from([UUIDS[OTHER[side]], "port-old"])),
            draw(st.sampled_from([None, "net-1", "net-2"])),
            Port=draw(free_ids), Interface=draw(free_ids))
    if draw(st.booleans()):
        made["kept"] = {"port": draw(st.sampled_from([UUIDS[OTHER[side]], "port-old"])),
                        "iface-id": draw(st.sampled_from(["1", "2"]))}
    if draw(st.booleans()):
        made["held"] = draw(st.sampled_from([HELD, {"tag": 4095}]))
    elif draw(st.booleans()):
        made["opened"] = True
    return made


@st.composite
def raw_rows(draw, side):
    return row(
        side, draw(units), draw(free_ids), draw(identities), draw(marks(side)),
        bridge=draw(st.sampled_from(["xenbr0", "xenbr0", "xenbr0", "xenbr1"])),
        port_ids=draw(free_ids),
        other_config=draw(st.sampled_from([{}, {}, NEUTRON, dict(NEUTRON, net_uuid="net-2")])),
        ofport=draw(st.sampled_from([None, 3, 3, -1])),
        error=draw(st.sampled_from([None, None, None, "could not open network device"])),
        policing={"ingress_policing_rate": draw(st.sampled_from([0, 100, 200]))})
