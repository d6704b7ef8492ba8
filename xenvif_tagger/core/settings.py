"""What an operator has set, and the facts of the host and its database that decisions need."""


class Settings(object):
    """
    iface_id (str): ``one`` or ``both``: on how many of the siblings iface-id may stand.
    exclude (tuple of str): further external_ids keys that are never mirrored; a ``*`` at the end
        of one stands for any rest.
    policing (bool): mirror the Interface columns ingress_policing_rate and _burst too.
    hold_bridges (frozenset of str): the bridges on which ports are held (DESIGN 4.6).
    boot (str): this boot of the host (/proc/sys/kernel/random/boot_id).
    cvlans (bool): the database's schema has Port.cvlans (Open vSwitch 2.5 had not).
    """

    __slots__ = ("iface_id", "exclude", "policing", "hold_bridges", "boot", "cvlans")

    def __init__(self, iface_id="one", exclude=(), policing=False, hold_bridges=(), boot="",
                 cvlans=True):
        self.iface_id = iface_id
        self.exclude = tuple(exclude)
        self.policing = policing
        self.hold_bridges = frozenset(hold_bridges)
        self.boot = boot
        self.cvlans = cvlans
