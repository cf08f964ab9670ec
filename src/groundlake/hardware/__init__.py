"""Devices: what is known of each (the registry and the lake's overlay), and which one this machine is."""

from groundlake.hardware.detection import Detected, Verdict, detect, judge, matches_this_machine
from groundlake.hardware.registry import find, load_spec, overlay, register_known, registry
from groundlake.hardware.spec import PEAK_COLUMNS, HardwareSpec

__all__ = [
    "PEAK_COLUMNS",
    "Detected",
    "HardwareSpec",
    "Verdict",
    "detect",
    "find",
    "judge",
    "load_spec",
    "matches_this_machine",
    "overlay",
    "register_known",
    "registry",
]
