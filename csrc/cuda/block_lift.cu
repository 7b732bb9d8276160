#include "block_common.h"
#include "launch.h"

namespace ddrm_fast::cuda {
namespace {

template <int kColumns, int kGroups>
__global__ void __launch_bounds__(kThreads) block_lift_kernel(BlockArguments a, Cells cells) {
  const Extent& e = a.extent;
  const CellIndex cell = cell_index(cells);
  if (!cell.exists) return;
  for (int64_t plane = blockIdx.y; plane < e.batch * cells.groups; plane += gridDim.y) {
    const PlaneIndex index = plane_index(plane, cells.groups);
    float value[kGroups];
#pragma unroll
    for (int g = 0; g < kGroups; ++g) {
      const int64_t column = cell.column * kGroups + g;
      value[g] = 0.0f;
      if (column < cells.width) {
        const float s = at_group(a.s, index.b, index.c, cell.row, column);
        value[g] = direction_scale(s, cells.factor) *
                   a.c[(plane * cells.height + cell.row) * cells.width + column];
      }
    }
    for (int64_t i = cell.lane; i < cells.units; i += cells.team) {
      const Unit unit = unit_at<kColumns>(cells, e, cell, index.c, i);
      const int64_t row = (index.b * e.channels + unit.c) * e.height + unit.h;
      Quad x = unit_profile(a.profile, index.b, unit);
#pragma unroll
      for (int j = 0; j < 4; ++j) x.v[j] = x.v[j] * value[j * kGroups / 4];
      store_quad(a.x + row * e.width + unit.w, x, unit.n);
    }
  }
}

}  // namespace

// The adjoint of block_measure: x_j = w_j c of the group, w_j = weight_c mask_j / (s r^2).
// x (B, C, H, W); c (B, G, H/r, W/r). Writes 4 bytes a pixel, reads 4 a group.
void block_lift(const BlockArguments& a, const Place& place) {
  const Cells cells(a.extent, a.profile);
  const LaunchShape shape = cells.shape(a.extent.batch);
  if (cells.unit == 1) {
    return launch("block_lift", block_lift_kernel<1, 1>, shape, place, a, cells);
  }
  switch (cells.groups_in_cell()) {
    case 1:
      return launch("block_lift", block_lift_kernel<4, 1>, shape, place, a, cells);
    case 2:
      return launch("block_lift", block_lift_kernel<4, 2>, shape, place, a, cells);
    default:
      return launch("block_lift", block_lift_kernel<4, 4>, shape, place, a, cells);
  }
}

}  // namespace ddrm_fast::cuda
