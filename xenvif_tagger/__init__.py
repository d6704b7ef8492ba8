"""xenvif-tagger keeps a Xen guest's two Open vSwitch ports, vif and tap, configured alike."""

__version__ = "0.1.0"
