"""Keeps the two Open vSwitch ports of a Xen guest's network card, vif and tap, configured alike."""

__version__ = "0.1.0"
