// Groups of r x r pixels: sums over the r columns of a group, and the way back.
#pragma once

#include "kernels.h"
#include "tasks.h"

namespace ddrm_fast::DDRM_FAST_ISA {

// Floats of one field in a tile of groups, which stay in the nearest caches; but no fewer columns
// than noise is made of at a time.
constexpr int64_t kBlockTile = 2048;
constexpr int64_t kBlockColumns = 128;

// Sums over long groups are sums of sums of this many: shorter chains of roundings, and the inner
// sums stay in registers.
constexpr int64_t kMemberRows = 16;

// The largest power of two that divides n, at most `limit`.
DDRM_INLINE int64_t common_power_of_two(int64_t n, int64_t limit) {
  int64_t power = 1;
  while (power < limit && n % (2 * power) == 0) power *= 2;
  return power;
}

struct BlockGrid {
  int64_t factor;
  int64_t height, width;    // of the measured grid
  int64_t groups, members;  // channels that have groups of their own; channels in a group
  int64_t tile;             // columns of the picture that are worked on at a time
  int64_t rows;             // rows of blocks in one task

  BlockGrid(const Extent& extent, const BlockProfile& profile, int threads)
      : factor(profile.factor),
        height(extent.height / factor),
        width(extent.width / factor),
        groups(profile.weights == nullptr ? extent.channels : 1),
        members(profile.weights == nullptr ? 1 : extent.channels) {
    const int64_t vectors = factor * (kLanes / common_power_of_two(factor, kLanes));
    int64_t wanted = kBlockTile / (factor * members);
    wanted = wanted < kBlockColumns ? kBlockColumns : wanted / kBlockColumns * kBlockColumns;
    tile = wanted >= vectors ? wanted / vectors * vectors : factor;
    if (tile > extent.width) tile = extent.width;
    const int64_t block_row = extent.width * factor * members;
    const int64_t all = extent.batch * extent.channels * extent.height * extent.width;
    rows = task_floats(all, threads) / (block_row > 0 ? block_row : 1);
    if (rows < 1) rows = 1;
  }

  int64_t bands() const { return (height + rows - 1) / rows; }
};

// function(b, group, row of blocks) for all, in tasks of several rows of blocks.
template <class Function>
static inline void for_block_rows(const Extent& extent, const BlockGrid& grid, int threads,
                                  const Function& function) {
  const int64_t bands = grid.bands();
  const int64_t floats = extent.batch * extent.channels * extent.height * extent.width;
  parallel(extent.batch * grid.groups * bands, floats, threads, [&](int64_t task) {
    const int64_t plane = task / bands, first = task % bands * grid.rows;
    const int64_t end = first + grid.rows < grid.height ? first + grid.rows : grid.height;
    function(plane / grid.groups, plane % grid.groups, first, end);
  });
}

// Room that a column buffer of n floats needs, so that whole vectors fit behind its end.
DDRM_INLINE int64_t padded(int64_t n) { return (n + 2 * kLanes - 1) / (2 * kLanes) * 2 * kLanes; }

DDRM_INLINE bool power_of_two(int64_t n) { return (n & (n - 1)) == 0; }

// columns[g] = sum of the r columns of group g, for n columns; pairwise where r is a power of two.
static inline void fold_columns(float* columns, int64_t n, int64_t r) {
  if (power_of_two(r)) {
    for (; r > 1; r /= 2, n /= 2) {
      for (int64_t i = 0; i < n; i += 2 * kLanes) {
        f32x16 even, odd;
        split_pairs(load(columns + i), load(columns + i + kLanes), even, odd);
        store(columns + i / 2, even + odd);
      }
    }
    return;
  }
  for (int64_t g = 0; g < n / r; ++g) {
    float total = 0.0f;
    for (int64_t first = 0; first < r; first += kMemberRows) {
      const int64_t end = first + kMemberRows < r ? first + kMemberRows : r;
      float part = columns[g * r + first];
      for (int64_t j = first + 1; j < end; ++j) part += columns[g * r + j];
      total += part;
    }
    columns[g] = total;
  }
}

DDRM_INLINE void add_sum(float* total, f32x16 part, bool first) {
  store(total, first ? part : load(total) + part);
}

// The way back: each of the n columns receives its group's number.
static inline void spread_columns(float* columns, int64_t n, int64_t r) {
  if (power_of_two(r)) {
    for (int64_t m = n / r; m < n; m *= 2) {
      for (int64_t i = (m - 1) / kLanes * kLanes; i >= 0; i -= kLanes) {
        f32x16 first, second;
        duplicate_lanes(load(columns + i), first, second);
        store(columns + 2 * i, first);
        store(columns + 2 * i + kLanes, second);
      }
    }
    return;
  }
  for (int64_t g = n / r - 1; g >= 0; --g) {
    const float value = columns[g];
    for (int64_t j = r - 1; j >= 0; --j) columns[g * r + j] = value;
  }
}

// Component of the unit direction, up to the factor 1 / (s r^2) of its group: weight_c mask_j.
struct MemberProfile {
  float weight = 1.0f;
  const float* mask = nullptr;

  MemberProfile() = default;
  MemberProfile(const BlockProfile& profile, int64_t b, int64_t c, int64_t h, int64_t w)
      : weight(profile.weights == nullptr ? 1.0f : profile.weights[c]),
        mask(profile.mask.data == nullptr ? nullptr : row_of(profile.mask, b, c, h) + w) {}
};

template <bool kMask, class Lanes>
DDRM_INLINE f32x16 member_profile(const MemberProfile& member, int64_t i, Lanes lanes) {
  const f32x16 weight(member.weight);
  return kMask ? weight * load(member.mask + i, lanes) : weight;
}

// 1 / (s r^2), and 0 where nothing is measured.
DDRM_INLINE f32x16 direction_scale(f32x16 s, float area) {
  const f32x16 scale = f32x16(1.0f) / (s * f32x16(area));
  return select(less(f32x16(0.0f), s), scale, f32x16(0.0f));
}

}  // namespace ddrm_fast::DDRM_FAST_ISA
