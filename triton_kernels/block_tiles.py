"""How large a tile of groups is."""

from dataclasses import dataclass

from .launch import GROUP_TILE, blocks, power_of_two, warps


@dataclass(frozen=True)
class BlockTile:
    """How many programs, of how many warps, and the constants of their kernel.

    A tile has ROWS member rows of BLOCKS neighbouring blocks, PADDED columns each; PARTS of them hold
    all members of the blocks' groups.
    """

    programs: int
    warps: int
    constants: dict[str, int | bool]


def block_tile(shape: tuple[int, ...], grey: bool, factor: int) -> BlockTile:
    """The tile for a picture's blocks: all members of a group, as long as that is not too many."""
    batch, channels, height, width = shape
    member_rows = factor * channels if grey else factor
    padded = power_of_two(factor)
    rows = max(1, min(power_of_two(member_rows), GROUP_TILE // padded))
    grid_height, grid_width = height // factor, width // factor
    # at least four columns: a counter of the noise makes four normals
    least = max(1, 4 // padded)
    wide = max(least, min(power_of_two(grid_width), GROUP_TILE // (rows * padded)))
    groups = batch * (1 if grey else channels)
    constants = {"GREY": grey, "FACTOR": factor, "PADDED": padded, "BLOCKS": wide}
    constants.update(ROWS=rows, PARTS=blocks(member_rows, rows))
    return BlockTile(
        programs=groups * grid_height * blocks(grid_width, wide),
        warps=warps(rows * padded * wide),
        constants=constants,
    )
