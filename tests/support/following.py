"""``status --follow`` in a terminal of the test's own, and the changes that the command shows."""
import re

from support.terminal import Terminal
from xenvif_tagger.core.decide import decide_vif
from xenvif_tagger.core.decision import Outcome, Settings
from xenvif_tagger.core.port import Port

CHANGE = re.compile(r"\d\d:\d\d:\d\d (.*)")


def following(ovs, *args, options=(), **how):
    env = dict({"OVS_RUNDIR": getattr(ovs, "dir", None)}, **how.pop("env", {}))
    return Terminal(*list(options) + ["status", "--follow"] + list(args), db=ovs, env=env, **how)


def set_tag(ovs, name, tag):
    ovs.vsctl("set", "port", name, "tag=%d" % tag)


def told(text):
    """The lines of changes below the table, without their times."""
    return [found.group(1) for found in map(CHANGE.fullmatch, text.split("\n")) if found]


SETTINGS = Settings(boot="a boot")


def port(name, uuid="u", bridge="br", unit=None, ids=None, port_ids=None, **more):
    return Port(name, uuid, bridge, unit, port_ids, dict({"attached-mac": "m"}, **(ids or {})),
                **more)


def outcome(*ports):
    return Outcome((1, 0), ports, decide_vif(list(ports), SETTINGS))
