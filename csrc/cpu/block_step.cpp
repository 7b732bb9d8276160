#include "block_common.h"
#include "step_common.h"

namespace ddrm_fast::DDRM_FAST_ISA {
namespace {

// Sums over the rows and channels of a tile of groups, by columns.
struct GroupSums {
  float* x0;
  float* eps;
  float* z;
};

struct Tile {
  float* x_next;
  float* x0;
  const float* x_t;
  const float* out;
  const float* z;
  int64_t n;
};

// Writes n_j = (a_null x0_j + b_null eps_j) + d_null z_j and adds profile_j times x0, eps and z to the
// sums.
template <bool kClip, bool kNoise, bool kMask>
void null_and_sums(const Row& row, const Tile& tile, const MemberProfile& member, bool first,
                   const GroupSums& sums) {
  const Weights<f32x16> null = null_weights<f32x16>(row);
  for_lanes(tile.n, [&](int64_t i, auto lanes) __attribute__((always_inline)) {
    const Prediction<f32x16> p =
        predict<kClip>(row, load(tile.x_t + i, lanes), load(tile.out + i, lanes));
    const f32x16 profile = member_profile<kMask>(member, i, lanes);
    f32x16 x = null.a * p.x0 + null.b * p.eps;
    f32x16 sum_x0 = profile * p.x0, sum_eps = profile * p.eps, sum_z;
    if (kNoise) {
      const f32x16 z = load(tile.z + i, lanes);
      x = x + null.d * z;
      sum_z = profile * z;
    }
    if (!first) {
      sum_x0 = load(sums.x0 + i) + sum_x0;
      sum_eps = load(sums.eps + i) + sum_eps;
      if (kNoise) sum_z = load(sums.z + i) + sum_z;
    }
    store(sums.x0 + i, sum_x0);
    store(sums.eps + i, sum_eps);
    if (kNoise) store(sums.z + i, sum_z);
    if (tile.x0 != nullptr) store(tile.x0 + i, p.x0, lanes);
    store(tile.x_next + i, x, lanes);
  });
}

struct NullAndSums {
  const Row& row;
  const Tile& tile;
  const MemberProfile& member;
  bool first;
  const GroupSums& sums;

  template <bool kClip, bool kNoise>
  void run() {
    if (member.mask != nullptr) {
      null_and_sums<kClip, kNoise, true>(row, tile, member, first, sums);
    } else {
      null_and_sums<kClip, kNoise, false>(row, tile, member, first, sums);
    }
  }
};

// Puts into sums.x0, for each of n groups,
//   ((a - a_null) rho_x0 + (b - b_null) rho_eps + c u + (d - d_null) rho_z) / (s r^2)
// with rho_v = sum_j w_j v_j; 0 where nothing is measured.
void group_changes(const Row& row, float area, const float* s, int64_t s_stride, const float* u,
                   int64_t n, bool noise, const GroupSums& sums) {
  const Weights<f32x16> null = null_weights<f32x16>(row);
  Weights<f32x16> constant = null;
  if (s_stride == 0) constant = measured_weights(row, f32x16(*s));
  for_lanes(n, [&](int64_t i, auto lanes) {
    const f32x16 here = load_strided(s, s_stride, i, lanes);
    const Weights<f32x16> w = s_stride == 0 ? constant : measured_weights(row, here);
    const f32x16 scale = direction_scale(here, area);
    f32x16 change = (w.a - null.a) * (scale * load(sums.x0 + i)) +
                    (w.b - null.b) * (scale * load(sums.eps + i));
    change = change + w.c * load(u + i, lanes);
    if (noise) change = change + (w.d - null.d) * (scale * load(sums.z + i));
    change = select(less(f32x16(0.0f), here), scale * change, f32x16(0.0f));
    store(sums.x0 + i, change);
  });
}

template <bool kMask>
void add_change(float* x_next, const float* change, const MemberProfile& member, int64_t n) {
  for_lanes(n, [&](int64_t i, auto lanes) {
    const f32x16 profile = member_profile<kMask>(member, i, lanes);
    store(x_next + i, load(x_next + i, lanes) + profile * load(change + i), lanes);
  });
}

// One row of blocks of one group of channels.
class BlockRow {
 public:
  BlockRow(const StepArguments& step, const BlockProfile& profile, const BlockGrid& grid,
           const Row& row, int64_t b, int64_t group, int64_t block)
      : step_(step), profile_(profile), grid_(grid), row_(row), b_(b), group_(group),
        block_(block), noise_(draws_noise(row)) {}

  void run(int64_t begin, int64_t n, TileBuffers& buffers, const GroupSums& sums) const {
    bool first = true;
    for_members([&](int64_t c, int64_t h) {
      for (int64_t w = 0; w < n; w += kTile) {
        predict_tile(c, h, begin + w, n - w < kTile ? n - w : kTile, first, buffers,
                     {sums.x0 + w, sums.eps + w, sums.z + w});
      }
      first = false;
    });
    if (step_.u.data == nullptr) return;
    change_groups(begin, n, sums);
    for_members([&](int64_t c, int64_t h) {
      const MemberProfile member(profile_, b_, c, h, begin);
      float* x_next = step_.x_next + offset(c, h) + begin;
      if (member.mask != nullptr) {
        add_change<true>(x_next, sums.x0, member, n);
      } else {
        add_change<false>(x_next, sums.x0, member, n);
      }
    });
  }

 private:
  template <class Function>
  void for_members(const Function& function) const {
    for (int64_t m = 0; m < grid_.members; ++m) {
      for (int64_t i = 0; i < grid_.factor; ++i) {
        function(group_ + m, block_ * grid_.factor + i);
      }
    }
  }

  int64_t offset(int64_t c, int64_t h) const {
    const Extent& e = step_.extent;
    return ((b_ * e.channels + c) * e.height + h) * e.width;
  }

  void predict_tile(int64_t c, int64_t h, int64_t w, int64_t n, bool first, TileBuffers& buffers,
                    const GroupSums& sums) const {
    const int64_t at = offset(c, h) + w;
    Tile tile;
    tile.n = n;
    tile.x_next = step_.x_next + at;
    tile.x0 = step_.x0 == nullptr ? nullptr : step_.x0 + at;
    tile.x_t = buffers.zero;
    tile.out = buffers.zero;
    if (step_.x_t != nullptr) {
      tile.x_t = step_.x_t + at;
      tile.out = OutputRow(step_.out, b_, c, h * step_.extent.width).tile(w, n, buffers.out);
    }
    tile.z = nullptr;
    if (noise_) {
      tile.z = step_.noise != nullptr
                   ? step_.noise + at
                   : fill_noise(buffers.noise, step_noise_row(step_, b_, c, h),
                                static_cast<uint32_t>(step_.keys[b_].origin_w + w), n);
    }
    const MemberProfile member(profile_, b_, c, h, w);
    with_row_traits(row_, noise_, NullAndSums{row_, tile, member, first, sums});
  }

  void change_groups(int64_t begin, int64_t n, const GroupSums& sums) const {
    const int64_t r = grid_.factor, groups = n / r, g = begin / r;
    fold_columns(sums.x0, n, r);
    fold_columns(sums.eps, n, r);
    if (noise_) fold_columns(sums.z, n, r);
    const float* s = row_of(step_.s, b_, group_, block_) + g * step_.s.stride[3];
    const float* u = row_of(step_.u, b_, group_, block_) + g;
    group_changes(row_, static_cast<float>(r) * static_cast<float>(r), s, step_.s.stride[3], u,
                  groups, noise_, sums);
    spread_columns(sums.x0, n, r);
  }

  const StepArguments& step_;
  const BlockProfile& profile_;
  const BlockGrid& grid_;
  const Row& row_;
  int64_t b_, group_, block_;
  bool noise_;
};

}  // namespace

// One affine step where r x r pixels, and with weights all channels, form a group with one measured
// unit direction w_j = weight_c mask_j / (s r^2); the rest of the group is null space:
//   n_j = a_null x0_j + b_null eps_j + d_null z_j
//   x_next_j = n_j + w_j ((a - a_null) <w, x0> + (b - b_null) <w, eps> + c u + (d - d_null) <w, z>)
// x_next, x_t, out, z (B, C, H, W); u (B or 1, G, H/r, W/r); s: each dimension of that full or 1.
void block_step(const StepArguments& a, const BlockProfile& profile) {
  const BlockGrid grid(a.extent, profile);
  for_block_rows(a.extent, grid, a.threads,
                 [&](int64_t b, int64_t group, int64_t first, int64_t end) {
    TileBuffers buffers;
    const Row row = step_row(a, b);
    if (a.x_t == nullptr) std::memset(buffers.zero, 0, sizeof(buffers.zero));
    const int64_t room = padded(grid.tile);
    float* scratch = thread_scratch(3 * room);
    const GroupSums sums{scratch, scratch + room, scratch + 2 * room};
    for (int64_t block = first; block < end; ++block) {
      const BlockRow work(a, profile, grid, row, b, group, block);
      for (int64_t w = 0; w < a.extent.width; w += grid.tile) {
        const int64_t n = a.extent.width - w < grid.tile ? a.extent.width - w : grid.tile;
        work.run(w, n, buffers, sums);
      }
    }
  });
}

}  // namespace ddrm_fast::DDRM_FAST_ISA
