"""What tests of the heap run in processes of their own, which find a plain module by its name."""

import resource

import torch

from ddrm_fast.machine import heap


def faults(megabytes=80):
    """Pages that the system clears for memory that was freed just before; the least of some times.

    Of some: aligned blocks move on a few times before the allocator comes back to a place of theirs.
    """
    found = []
    for _ in range(20):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.empty(megabytes * 2**20, dtype=torch.uint8).fill_(1)
        found.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    return min(found)


def faults_before_inside_and_after(megabytes):
    outside = faults(megabytes)
    with heap.kept_memory():
        inside = faults(megabytes)
        with heap.kept_memory():
            pass
        still = faults(megabytes)  # leaving an inner one ends nothing
    return outside, inside, still, faults(8 * megabytes)


def size():
    """MiB of this process that are in memory."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS:")) // 1024


def sizes(outer, inner):
    """With 600 MiB, when they are freed, and at the end."""
    with heap.kept_memory(give_back=outer):
        with heap.kept_memory(give_back=inner):
            many = [torch.ones(2**20) for _ in range(150)]
            last = torch.ones(2**18)  # holds the heap's end
            full = size()
            del many
        freed = size()
    end = size()
    return full, freed, end, float(last.sum())


def faults_inside():
    with heap.kept_memory(give_back=True):
        return faults()


def faults_after_an_error():
    try:
        with heap.kept_memory():
            raise ValueError("on purpose")
    except ValueError:
        return faults()
