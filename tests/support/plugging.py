"""Functions that plug and unplug by our hook, in a stand-in dom0."""
from support.constants import HOOK


def plug(dom0, domid, kind="vif", **vif):
    if (domid, 0) not in dom0.vifs:
        dom0.add_vif(domid, 0, **dict({"setup_vif_rules": HOOK}, **vif))
    done = (dom0.plug_vif if kind == "vif" else dom0.plug_tap)(domid, 0)
    assert done.returncode == 0, done
    return "%s%d.0" % (kind, domid)


def unplug(dom0, domid, kind):
    done = (dom0.unplug_vif if kind == "vif" else dom0.unplug_tap)(domid, 0)
    assert done.returncode == 0, done
