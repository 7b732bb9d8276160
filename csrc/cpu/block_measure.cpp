#include "block_common.h"

namespace ddrm_fast::DDRM_FAST_ISA {
namespace {

struct MemberRow {
  const float* x;
  MemberProfile profile;
};

template <bool kMask>
void add_members(float* sums, const MemberRow* members, int64_t rows, bool first, int64_t n) {
  for_lanes(n, [&](int64_t i, auto lanes) {
    f32x16 sum(0.0f);
    for (int64_t j = 0; j < rows; ++j) {
      const f32x16 profile = member_profile<kMask>(members[j].profile, i, lanes);
      sum = sum + profile * load(members[j].x + i, lanes);
    }
    add_sum(sums + i, sum, first);
  });
}

// Sums of profile_j x_j over the members of a row of blocks, for n columns from w on.
void sum_columns(const BlockArguments& a, const BlockGrid& grid, int64_t b, int64_t group,
                 int64_t block, int64_t w, int64_t n, float* sums) {
  const Extent& e = a.extent;
  const int64_t all = grid.members * grid.factor;
  for (int64_t first = 0; first < all; first += kMemberRows) {
    const int64_t rows = all - first < kMemberRows ? all - first : kMemberRows;
    MemberRow members[kMemberRows];
    for (int64_t k = 0; k < rows; ++k) {
      const int64_t c = group + (first + k) / grid.factor;
      const int64_t h = block * grid.factor + (first + k) % grid.factor;
      members[k] = {a.x + ((b * e.channels + c) * e.height + h) * e.width + w,
                    MemberProfile(a.profile, b, c, h, w)};
    }
    if (a.profile.mask.data != nullptr) {
      add_members<true>(sums, members, rows, first == 0, n);
    } else {
      add_members<false>(sums, members, rows, first == 0, n);
    }
  }
}

}  // namespace

// c = sum_j w_j x_j over the members of each group, w_j = weight_c mask_j / (s r^2).
// x (B, C, H, W); c (B, G, H/r, W/r).
void block_measure(const BlockArguments& a) {
  const BlockGrid grid(a.extent, a.profile, a.threads);
  const float area = static_cast<float>(grid.factor) * static_cast<float>(grid.factor);
  for_block_rows(
      a.extent, grid, a.threads, [&](int64_t b, int64_t group, int64_t begin, int64_t end) {
        float* sums = thread_scratch(padded(grid.tile));
        for (int64_t block = begin; block < end; ++block) {
          for (int64_t w = 0; w < a.extent.width; w += grid.tile) {
            const int64_t n = a.extent.width - w < grid.tile ? a.extent.width - w : grid.tile;
            sum_columns(a, grid, b, group, block, w, n, sums);
            fold_columns(sums, n, grid.factor);
            const int64_t g = w / grid.factor, stride = a.s.stride[3];
            const float* s = row_of(a.s, b, group, block) + g * stride;
            float* c = a.c + ((b * grid.groups + group) * grid.height + block) * grid.width + g;
            for_lanes(n / grid.factor, [&](int64_t i, auto lanes) {
              const f32x16 scale = direction_scale(load_strided(s, stride, i, lanes), area);
              store(c + i, scale * load(sums + i), lanes);
            });
          }
        }
      });
}

}  // namespace ddrm_fast::DDRM_FAST_ISA
