"""Prints the compute capabilities of this machine's GPUs ("86 90"), or an empty line.

The build asks the driver itself: it needs no PyTorch, and no program that a container may lack.
"""

import ctypes

# numbers of CUdevice_attribute
MAJOR, MINOR = 75, 76


def capabilities() -> list[int]:
    """Ascending, each once; empty where there is no driver or no GPU."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return []
    count = ctypes.c_int(0)
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return []
    found = set()
    for ordinal in range(count.value):
        device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
        failed = (
            driver.cuDeviceGet(ctypes.byref(device), ordinal)
            or driver.cuDeviceGetAttribute(ctypes.byref(major), MAJOR, device)
            or driver.cuDeviceGetAttribute(ctypes.byref(minor), MINOR, device)
        )
        if not failed:
            found.add(10 * major.value + minor.value)
    return sorted(found)


if __name__ == "__main__":
    print(*capabilities())
