"""A stand-in dom0, in which plug scripts run for real: see dom0.py."""

from .dom0 import Dom0, Vif
from .namespaces import Dom0Error

__all__ = ["Dom0", "Dom0Error", "Vif"]
