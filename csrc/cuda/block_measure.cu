#include "block_common.h"
#include "launch.h"

namespace ddrm_fast::cuda {
namespace {

template <int kColumns, int kGroups>
__global__ void __launch_bounds__(kThreads) block_measure_kernel(BlockArguments a, Cells cells) {
  const Extent& e = a.extent;
  const CellIndex cell = cell_index(cells);
  for (int64_t plane = blockIdx.y; plane < e.batch * cells.groups; plane += gridDim.y) {
    const PlaneIndex index = plane_index(plane, cells.groups);
    float sum[kGroups] = {};
    if (cell.exists) {
      for (int64_t i = cell.lane; i < cells.units; i += cells.team) {
        const Unit unit = unit_at<kColumns>(cells, e, cell, index.c, i);
        const int64_t row = (index.b * e.channels + unit.c) * e.height + unit.h;
        const Quad x = load_quad(a.x + row * e.width + unit.w, unit.n);
        const Quad weight = unit_profile(a.profile, index.b, unit);
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          if (j < unit.n) {
            sum[j * kGroups / 4] = sum[j * kGroups / 4] + weight.v[j] * x.v[j];
          }
        }
      }
    }
    sum_over_team(sum, cells.team);
    if (!cell.exists || cell.lane != 0) continue;
#pragma unroll
    for (int g = 0; g < kGroups; ++g) {
      const int64_t column = cell.column * kGroups + g;
      if (column < cells.width) {
        const float s = at_group(a.s, index.b, index.c, cell.row, column);
        a.c[(plane * cells.height + cell.row) * cells.width + column] =
            direction_scale(s, cells.factor) * sum[g];
      }
    }
  }
}

template <int kColumns, int kGroups>
void launch_measure(const BlockArguments& a, const Cells& cells, const Place& place) {
  LaunchShape shape = cells.shape(a.extent.batch);
  shape.shared_bytes = shared_for_sums(cells, kGroups);
  launch("block_measure", block_measure_kernel<kColumns, kGroups>, shape, place, a, cells);
}

}  // namespace

// c = sum_j w_j x_j over the members of each group, w_j = weight_c mask_j / (s r^2).
// x (B, C, H, W); c (B, G, H/r, W/r). Reads 4 bytes a pixel, writes 4 a group.
void block_measure(const BlockArguments& a, const Place& place) {
  const Cells cells(a.extent, a.profile);
  if (cells.unit == 1) return launch_measure<1, 1>(a, cells, place);
  switch (cells.groups_in_cell()) {
    case 1:
      return launch_measure<4, 1>(a, cells, place);
    case 2:
      return launch_measure<4, 2>(a, cells, place);
    default:
      return launch_measure<4, 4>(a, cells, place);
  }
}

}  // namespace ddrm_fast::cuda
