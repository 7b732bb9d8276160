"""Pictures and measurements in files: reading, atomic writing, sheets to look at."""

from .files import OutputError, check_writable, write_atomically, write_json
from .measurements import StoredMeasurement, read_measurement, write_measurement
from .pictures import SUFFIXES, Picture, read_picture, write_picture
from .sheets import Panel, heat, sheet

__all__ = [
    "SUFFIXES",
    "OutputError",
    "Panel",
    "Picture",
    "StoredMeasurement",
    "check_writable",
    "heat",
    "read_measurement",
    "read_picture",
    "sheet",
    "write_atomically",
    "write_json",
    "write_measurement",
    "write_picture",
]
