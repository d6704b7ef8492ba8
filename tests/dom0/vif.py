"""A VIF as the toolstacks know it, with the names of its devices and its paths in xenstore."""

import re


class Vif(object):
    def __init__(self, domid, devid, vm_uuid, **fields):
        self.domid, self.devid, self.vm_uuid = domid, devid, vm_uuid
        for name, value in fields.items():
            setattr(self, name, value)

    @property
    def number(self):
        return "%d.%d" % (self.domid, self.devid)

    @property
    def vif(self):
        return "vif" + self.number

    @property
    def tap(self):
        return "tap" + self.number

    @property
    def emu(self):
        return "vif%s-emu" % self.number

    # Paths in xenstore.

    @property
    def backend(self):
        return "backend/vif/%d/%d" % (self.domid, self.devid)

    @property
    def private(self):
        return "/xapi/%s/private/vif/%d" % (self.vm_uuid, self.devid)

    @property
    def hotplug(self):
        return "/xapi/%s/hotplug/%d/vif/%d" % (self.vm_uuid, self.domid, self.devid)


def numbers(device):
    """The (domid, devid) in the name of a VIF's device."""
    domid, devid = re.match(r"(?:vif|tap)(\d+)\.(\d+)(?:-emu)?$", device).groups()
    return int(domid), int(devid)
