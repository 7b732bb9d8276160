#include "block_common.h"
#include "launch.h"
#include "step_common.h"

namespace ddrm_fast::cuda {
namespace {

// Sums over the members of each group of a cell: profile times x0, eps and z.
template <int kGroups>
struct GroupSums {
  float value[3 * kGroups];
};

template <int kColumns, Access kAccess>
__device__ __forceinline__ Quad unit_noise(const StepArguments& a, int64_t b, const Unit& unit,
                                           int64_t plane) {
  if (kColumns == 4 || a.noise != nullptr) {
    return step_noise<kAccess>(a, b, unit.c, unit.h, unit.w, plane, unit.n);
  }
  const uint32_t column = static_cast<uint32_t>(a.keys[b].origin_w + unit.w);
  return {{normal_at(step_noise_row(a, b, unit.c, unit.h), column), 0.0f, 0.0f, 0.0f}};
}

// The null part n_j = (a_null x0_j + b_null eps_j) + d_null z_j of a unit; adds its profile times
// x0, eps and z to the sums.
template <int kColumns, Access kAccess, int kGroups>
__device__ __forceinline__ Quad null_and_sum(const StepArguments& a, const BlockProfile& profile,
                                             const Row& row, int64_t b, const Unit& unit,
                                             const StepInputs& inputs, GroupSums<kGroups>& sums) {
  const Extent& e = a.extent;
  const int64_t plane = (b * e.channels + unit.c) * e.height * e.width;
  const int64_t at = unit.h * e.width + unit.w;
  const bool noisy = draws_noise(row);
  Quad z{};
  if (noisy) z = unit_noise<kColumns, kAccess>(a, b, unit, plane);
  const QuadPrediction p = predict_inputs(a, row, clips(row), inputs);
  if (a.x0 != nullptr) store_quad<kAccess>(a.x0 + plane + at, p.x0, unit.n);
  const Quad weight = unit_profile<kAccess>(profile, b, unit);
  Quad n;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    n.v[i] = row.null_a * p.x0.v[i] + row.null_b * p.eps.v[i];
    if (noisy) n.v[i] = n.v[i] + row.null_d * z.v[i];
    if (i < unit.n) {
      float* sum = sums.value + 3 * (i * kGroups / 4);
      sum[0] = sum[0] + weight.v[i] * p.x0.v[i];
      sum[1] = sum[1] + weight.v[i] * p.eps.v[i];
      if (noisy) sum[2] = sum[2] + weight.v[i] * z.v[i];
    }
  }
  return n;
}

// What the measured direction of a group adds to each member, up to the member's profile:
//   ((a - a_null) rho_x0 + (b - b_null) rho_eps + c u + (d - d_null) rho_z) / (s r^2)
// with rho_v = sum_j w_j v_j; 0 where nothing is measured.
__device__ __forceinline__ float group_change(const Row& row, float s, float scale, float u,
                                              const float* sum) {
  if (!(s > 0.0f)) return 0.0f;
  const Weights<float> null = null_weights<float>(row), w = measured_weights(row, s);
  float change = (w.a - null.a) * (scale * sum[0]) + (w.b - null.b) * (scale * sum[1]);
  change = change + w.c * u;
  if (draws_noise(row)) change = change + (w.d - null.d) * (scale * sum[2]);
  return scale * change;
}

template <int kColumns, int kGroups, bool kInRegisters, Access kAccess>
__device__ __forceinline__ void step_of_cell(const StepArguments& a, const BlockProfile& profile,
                                             const Cells& cells, const CellIndex& cell, int64_t b,
                                             int64_t group) {
  const Extent& e = a.extent;
  const Row* row = row_of_image(a.table, b);
  const bool measures = a.u.data != nullptr;
  Quad kept[kInRegisters ? kUnits : 1];
  GroupSums<kGroups> sums{};
  auto address = [&](const Unit& unit) {
    return a.x_next + ((b * e.channels + unit.c) * e.height + unit.h) * e.width + unit.w;
  };
  auto for_units = [&](auto&& function) {
    if (!cell.exists) return;
    if (kInRegisters) {
#pragma unroll
      for (int k = 0; k < kUnits; ++k) {
        const int64_t index = cell.lane + k * static_cast<int64_t>(cells.team);
        if (index < cells.units) function(unit_at<kColumns>(cells, e, cell, group, index), k);
      }
    } else {
      for (int64_t index = cell.lane; index < cells.units; index += cells.team) {
        function(unit_at<kColumns>(cells, e, cell, group, index), 0);
      }
    }
  };

  auto read = [&](const Unit& unit) {
    const int64_t plane = (b * e.channels + unit.c) * e.height * e.width;
    return load_inputs<kAccess>(a, b, unit.c, plane, unit.h * e.width + unit.w, unit.n);
  };

  // All units are read before the first is worked on.
  StepInputs inputs[kInRegisters ? kUnits : 1];
  if (kInRegisters) {
    for_units([&](const Unit& unit, int k) { inputs[kInRegisters ? k : 0] = read(unit); });
  }
  // What a thread cannot keep waits in x_next, where no one else reads or writes.
  for_units([&](const Unit& unit, int k) {
    Quad n = nan_quad();
    if (!kInRegisters) inputs[0] = read(unit);
    const StepInputs& here = inputs[kInRegisters ? k : 0];
    if (row != nullptr) n = null_and_sum<kColumns, kAccess>(a, profile, *row, b, unit, here, sums);
    if (kInRegisters) kept[kInRegisters ? k : 0] = n;
    if (!kInRegisters || !measures) store_quad<kAccess>(address(unit), n, unit.n);
  });
  if (!measures) return;
  sum_over_team(sums.value, cells.team);

  float change[kGroups];
#pragma unroll
  for (int g = 0; g < kGroups; ++g) {
    const int64_t column = cell.column * kGroups + g;
    change[g] = 0.0f;
    if (row != nullptr && cell.exists && column < cells.width) {
      const float s = at_group(a.s, b, group, cell.row, column);
      const float u = at_group(a.u, b, group, cell.row, column);
      const float scale = direction_scale(s, cells.factor);
      change[g] = group_change(*row, s, scale, u, sums.value + 3 * g);
    }
  }

  // x_next_j = n_j + profile_j times the change of its group.
  for_units([&](const Unit& unit, int k) {
    Quad x = kInRegisters ? kept[kInRegisters ? k : 0] : load_quad<kAccess>(address(unit), unit.n);
    const Quad weight = unit_profile<kAccess>(profile, b, unit);
#pragma unroll
    for (int i = 0; i < 4; ++i) x.v[i] = x.v[i] + weight.v[i] * change[i * kGroups / 4];
    store_quad<kAccess>(address(unit), x, unit.n);
  });
}

template <int kColumns, int kGroups, bool kInRegisters, Access kAccess>
__global__ void __launch_bounds__(kThreads)
    block_step_kernel(StepArguments a, BlockProfile profile, Cells cells) {
  const CellIndex cell = cell_index(cells);
  for (int64_t plane = blockIdx.y; plane < a.extent.batch * cells.groups; plane += gridDim.y) {
    const PlaneIndex index = plane_index(plane, cells.groups);
    step_of_cell<kColumns, kGroups, kInRegisters, kAccess>(a, profile, cells, cell, index.b,
                                                           index.c);
  }
}

template <int kColumns, int kGroups>
void launch_step(const StepArguments& a, const BlockProfile& profile, const Cells& cells,
                 const Place& place) {
  LaunchShape shape = cells.shape(a.extent.batch);
  shape.shared_bytes = shared_for_sums(cells, 3 * kGroups);
  constexpr Access kWhole = kColumns == 4 ? Access::kWide : Access::kChecked;
  const bool wide = wide_planes(a) && wide_field(profile.mask);
  auto kernel = block_step_kernel<kColumns, kGroups, false, Access::kChecked>;
  if (cells.in_registers()) {
    kernel = wide ? block_step_kernel<kColumns, kGroups, true, kWhole>
                  : block_step_kernel<kColumns, kGroups, true, Access::kChecked>;
  }
  launch("block_step", kernel, shape, place, a, profile, cells);
}

}  // namespace

// One affine step where r x r pixels, and with weights all channels, form a group with one measured
// unit direction w_j = weight_c mask_j / (s r^2); the rest of the group is null space:
//   n_j = a_null x0_j + b_null eps_j + d_null z_j
//   x_next_j = n_j + w_j ((a - a_null) <w, x0> + (b - b_null) <w, eps> + c u + (d - d_null) <w, z>)
// x_next, x_t, out, z (B, C, H, W); u (B or 1, G, H/r, W/r); s: each dimension of that full or 1.
// One pass: x_t and out are read once and x_next written once, 12 bytes a pixel; groups of more
// than 4096 pixels (1024 where r fits no 16-byte access) write x_next a second time.
void block_step(const StepArguments& a, const BlockProfile& profile, const Place& place) {
  const Cells cells(a.extent, profile);
  if (cells.unit == 1) return launch_step<1, 1>(a, profile, cells, place);
  switch (cells.groups_in_cell()) {
    case 1:
      return launch_step<4, 1>(a, profile, cells, place);
    case 2:
      return launch_step<4, 2>(a, profile, cells, place);
    default:
      return launch_step<4, 4>(a, profile, cells, place);
  }
}

}  // namespace ddrm_fast::cuda
