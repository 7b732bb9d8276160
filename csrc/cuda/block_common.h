// Groups of r x r pixels, cut into cells that a team of threads works on.
//
// A cell is r rows of max(r, 4) columns and all members' channels: one group, or the four or two
// groups (r = 1, 2) that share four columns. Its unit is four columns of one row, moved in one
// access, or one pixel where r fits neither. The threads of a team, a power of two of them, take
// turns with the units of a cell; a team is as small as lets every thread keep its units in
// registers, so for r = 4 a thread is a team, and nothing is exchanged.
#pragma once

#include "index.h"
#include "kernels.h"
#include "quad.h"

namespace ddrm_fast::cuda {

constexpr int kUnits = 4;  // that a thread keeps in registers
constexpr unsigned kWarp = 32;
constexpr unsigned kMostWarps = kThreads / kWarp;

struct Cells {
  int64_t factor;
  int64_t height, width;    // of the measured grid
  int64_t groups, members;  // channels that have groups of their own; channels in a group
  int unit;                 // columns of a unit, 4 or 1
  int64_t columns;          // of a cell
  int64_t in_row;           // cells
  int64_t units_in_row;     // of a cell
  int64_t units;            // of a cell
  unsigned team;            // threads

  Cells(const Extent& extent, const BlockProfile& profile) {
    factor = profile.factor;
    height = extent.height / factor;
    width = extent.width / factor;
    groups = profile.weights == nullptr ? extent.channels : 1;
    members = profile.weights == nullptr ? 1 : extent.channels;
    unit = factor <= 2 || factor % 4 == 0 ? 4 : 1;
    columns = factor < unit ? unit : factor;
    in_row = (extent.width + columns - 1) / columns;
    units_in_row = columns / unit;
    units = members * factor * units_in_row;
    team = 1;
    while (team < kThreads && team * kUnits < units) team *= 2;
  }

  bool in_registers() const { return team * kUnits >= units; }
  int groups_in_cell() const { return unit == 4 && factor < 4 ? 4 / static_cast<int>(factor) : 1; }

  LaunchShape shape(int64_t batch) const {
    return over_planes(height * in_row * team, batch * groups);
  }
};

// The cell of a thread in a plane of groups.
struct CellIndex {
  int64_t row, column;  // of the cell, counted in cells
  int64_t lane;         // of the thread in its team
  bool exists;          // threads beyond the last cell still take part in exchanges
};

__device__ __forceinline__ CellIndex cell_index(const Cells& cells) {
  const Split thread = split(thread_index(), cells.team);
  const Split cell = split(thread.quotient, cells.in_row);
  return {cell.quotient, cell.remainder, thread.remainder, cell.quotient < cells.height};
}

// Where a unit lies in the image, and how many of its columns exist.
struct Unit {
  int64_t c, h, w;
  int n;
};

template <int kColumns>
__device__ __forceinline__ Unit unit_at(const Cells& cells, const Extent& extent,
                                        const CellIndex& cell, int64_t group, int64_t index) {
  // (the usual groups, up to 4 x 4 of one channel, without a division)
  const Split row = cells.units_in_row == 1 ? Split{index, 0} : split(index, cells.units_in_row);
  const Split channel =
      cells.members == 1 ? Split{0, row.quotient} : split(row.quotient, cells.factor);
  const int64_t w = cell.column * cells.columns + kColumns * row.remainder;
  const int64_t left = extent.width - w;
  return {group + channel.quotient, cell.row * cells.factor + channel.remainder, w,
          left < kColumns ? (left < 0 ? 0 : static_cast<int>(left)) : kColumns};
}

// Component of the unit direction, up to the factor 1 / (s r^2) of its group: weight_c mask_j.
template <Access kAccess = Access::kChecked>
__device__ __forceinline__ Quad unit_profile(const BlockProfile& profile, int64_t b,
                                             const Unit& unit) {
  const float weight = profile.weights == nullptr ? 1.0f : profile.weights[unit.c];
  if (profile.mask.data == nullptr) return {{weight, weight, weight, weight}};
  const float* row = row_of(profile.mask, b, unit.c, unit.h);
  Quad mask = load_field<kAccess>(row, profile.mask.stride[3], unit.w, unit.n);
#pragma unroll
  for (int i = 0; i < 4; ++i) mask.v[i] = weight * mask.v[i];
  return mask;
}

// 1 / (s r^2), and 0 where nothing is measured.
__device__ __forceinline__ float direction_scale(float s, int64_t factor) {
  const float area = static_cast<float>(factor) * static_cast<float>(factor);
  return s > 0.0f ? 1.0f / (s * area) : 0.0f;
}

// A field of the measured grid at one group.
__device__ __forceinline__ float at_group(const FloatField& field, int64_t b, int64_t group,
                                          int64_t row, int64_t column) {
  return row_of(field, b, group, row)[column * field.stride[3]];
}

// Sums over a team; every thread of it receives them. All threads of a block have to come here.
template <int kCount>
__device__ __forceinline__ void sum_over_team(float (&value)[kCount], unsigned team) {
  for (unsigned distance = 1; distance < team && distance < kWarp; distance *= 2) {
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      value[i] = value[i] + __shfl_xor_sync(0xFFFFFFFFu, value[i], static_cast<int>(distance));
    }
  }
  if (team <= kWarp) return;
  float* partial = shared_memory<float>();  // [kMostWarps][kCount]
  const unsigned warp = threadIdx.x / kWarp, warps = team / kWarp;
  if (threadIdx.x % kWarp == 0) {
#pragma unroll
    for (int i = 0; i < kCount; ++i) partial[warp * kCount + i] = value[i];
  }
  __syncthreads();
  const unsigned first = warp / warps * warps;
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    float total = partial[first * kCount + i];
    for (unsigned j = 1; j < warps; ++j) total = total + partial[(first + j) * kCount + i];
    value[i] = total;
  }
  __syncthreads();  // the next plane writes here again
}

inline size_t shared_for_sums(const Cells& cells, int count) {
  return cells.team <= kWarp ? 0 : kMostWarps * count * sizeof(float);
}

}  // namespace ddrm_fast::cuda
