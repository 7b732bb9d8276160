#include "block_common.h"

namespace ddrm_fast::DDRM_FAST_ISA {
namespace {

template <bool kMask>
void lift_member(float* x, const float* columns, const MemberProfile& member, int64_t n) {
  for_lanes(n, [&](int64_t i, auto lanes) {
    store(x + i, member_profile<kMask>(member, i, lanes) * load(columns + i), lanes);
  });
}

}  // namespace

// The adjoint of block_measure: x_j = w_j c of the group, w_j = weight_c mask_j / (s r^2).
// x (B, C, H, W); c (B, G, H/r, W/r).
void block_lift(const BlockArguments& a) {
  const BlockGrid grid(a.extent, a.profile, a.threads);
  const float area = static_cast<float>(grid.factor) * static_cast<float>(grid.factor);
  for_block_rows(
      a.extent, grid, a.threads, [&](int64_t b, int64_t group, int64_t begin, int64_t end) {
        float* columns = thread_scratch(padded(grid.tile));
        for (int64_t block = begin; block < end; ++block) {
          for (int64_t w = 0; w < a.extent.width; w += grid.tile) {
            const int64_t n = a.extent.width - w < grid.tile ? a.extent.width - w : grid.tile;
            const int64_t g = w / grid.factor, stride = a.s.stride[3];
            const float* s = row_of(a.s, b, group, block) + g * stride;
            const float* c =
                a.c + ((b * grid.groups + group) * grid.height + block) * grid.width + g;
            for_lanes(n / grid.factor, [&](int64_t i, auto lanes) {
              const f32x16 scale = direction_scale(load_strided(s, stride, i, lanes), area);
              store(columns + i, scale * load(c + i, lanes));
            });
            spread_columns(columns, n, grid.factor);
            for (int64_t m = 0; m < grid.members; ++m) {
              for (int64_t i = 0; i < grid.factor; ++i) {
                const int64_t channel = group + m, h = block * grid.factor + i;
                const MemberProfile member(a.profile, b, channel, h, w);
                float* x =
                    a.x +
                    ((b * a.extent.channels + channel) * a.extent.height + h) * a.extent.width + w;
                if (member.mask != nullptr) {
                  lift_member<true>(x, columns, member, n);
                } else {
                  lift_member<false>(x, columns, member, n);
                }
              }
            }
          }
        }
      });
}

}  // namespace ddrm_fast::DDRM_FAST_ISA
