#include "block_common.h"
#include "step_common.h"

namespace ddrm_fast::DDRM_FAST_ISA {
namespace {

// One member row of a tile: its sources, and where its null part n and its prediction go.
struct MemberRow {
  const float* x_t;
  const float* out;
  const float* z;
  float* n;   // or x_next
  float* x0;  // or null
  MemberProfile profile;
};

// Sums over the members of a tile of groups, by columns; or, where one singular value holds for the
// whole tile, what its weights make of the three, in the place of x0.
struct GroupSums {
  float* x0;
  float* eps;
  float* z;
  const Weights<f32x16>* weights;  // measured less null; or null
};

// Returns n_j = (a_null x0_j + b_null eps_j) + d_null z_j of one member row, and adds its profile
// times x0, eps and z to the sums.
template <Predict kPredict, bool kNoise, bool kMask, class Lanes>
DDRM_INLINE f32x16 null_and_sum(const Row& row, const Weights<f32x16>& null,
                                const MemberRow& member, int64_t i, Lanes lanes, f32x16& sum_x0,
                                f32x16& sum_eps, f32x16& sum_z) {
  const Prediction<f32x16> p =
      predict<kPredict>(row, load(member.x_t + i, lanes), load(member.out + i, lanes));
  const f32x16 profile = member_profile<kMask>(member.profile, i, lanes);
  f32x16 n = null.a * p.x0 + null.b * p.eps;
  if (kNoise) {
    const f32x16 z = load(member.z + i, lanes);
    n = n + null.d * z;
    sum_z = sum_z + profile * z;
  }
  sum_x0 = sum_x0 + profile * p.x0;
  sum_eps = sum_eps + profile * p.eps;
  if (member.x0 != nullptr) store(member.x0 + i, p.x0, lanes);
  return n;
}

// What a measured direction's weights add to those of the null space.
DDRM_INLINE Weights<f32x16> less_null(const Weights<f32x16>& w, const Weights<f32x16>& null) {
  return {w.a - null.a, w.b - null.b, w.c, w.d - null.d};
}

template <bool kNoise>
DDRM_INLINE f32x16 weighted(const Weights<f32x16>& w, f32x16 x0, f32x16 eps, f32x16 z) {
  const f32x16 sum = w.a * x0 + w.b * eps;
  return kNoise ? sum + w.d * z : sum;
}

// The null parts of some rows, and their sums over the rows, added to the sums so far.
template <Predict kPredict, bool kNoise, bool kMask>
void null_and_sums(const Row& row, const MemberRow* members, int64_t rows, int64_t columns,
                   bool first, const GroupSums& sums) {
  const Weights<f32x16> null = null_weights<f32x16>(row);
  for_lanes(columns, [&](int64_t i, auto lanes) __attribute__((always_inline)) {
    f32x16 sum_x0(0.0f), sum_eps(0.0f), sum_z(0.0f);
    for (int64_t j = 0; j < rows; ++j) {
      const f32x16 n = null_and_sum<kPredict, kNoise, kMask>(row, null, members[j], i, lanes,
                                                             sum_x0, sum_eps, sum_z);
      store(members[j].n + i, n, lanes);
    }
    if (sums.weights != nullptr) {
      add_sum(sums.x0 + i, weighted<kNoise>(*sums.weights, sum_x0, sum_eps, sum_z), first);
      return;
    }
    add_sum(sums.x0 + i, sum_x0, first);
    add_sum(sums.eps + i, sum_eps, first);
    if (kNoise) add_sum(sums.z + i, sum_z, first);
  });
}

struct NullAndSums {
  const Row& row;
  const MemberRow* members;
  int64_t rows, columns;
  bool first;
  const GroupSums& sums;

  template <Predict kPredict, bool kNoise>
  void run() {
    if (members->profile.mask != nullptr) {
      null_and_sums<kPredict, kNoise, true>(row, members, rows, columns, first, sums);
    } else {
      null_and_sums<kPredict, kNoise, false>(row, members, rows, columns, first, sums);
    }
  }
};

// What the measured direction of a group adds to each member, up to the member's profile:
//   ((a - a_null) rho_x0 + (b - b_null) rho_eps + c u + (d - d_null) rho_z) / (s r^2)
// with rho_v = sum_j w_j v_j = the weighted sum times `scale`; 0 where nothing is measured.
DDRM_INLINE f32x16 group_change(f32x16 s, f32x16 scale, f32x16 c, f32x16 u, f32x16 sum) {
  return select(less(f32x16(0.0f), s), scale * (scale * sum + c * u), f32x16(0.0f));
}

// Puts into sums.x0 the changes of n groups with one singular value.
void group_changes(const Row& row, float area, float s, const float* u, int64_t n,
                   const GroupSums& sums) {
  const f32x16 here(s), scale = direction_scale(here, area), c = measured_weights(row, here).c;
  for_lanes(n, [&](int64_t i, auto lanes) {
    store(sums.x0 + i, group_change(here, scale, c, load(u + i, lanes), load(sums.x0 + i)));
  });
}

// The same where each group has its own.
template <bool kNoise>
void varying_changes(const Row& row, float area, const float* s, int64_t s_stride, const float* u,
                     int64_t n, const GroupSums& sums) {
  const Weights<f32x16> null = null_weights<f32x16>(row);
  for_lanes(n, [&](int64_t i, auto lanes) {
    const f32x16 here = load_strided(s, s_stride, i, lanes);
    const Weights<f32x16> w = measured_weights(row, here);
    const f32x16 sum = weighted<kNoise>(less_null(w, null), load(sums.x0 + i), load(sums.eps + i),
                                        load(sums.z + i));
    store(sums.x0 + i,
          group_change(here, direction_scale(here, area), w.c, load(u + i, lanes), sum));
  });
}

// x_next_j = n_j + profile_j times the change of its group.
template <bool kMask>
void add_change(float* x_next, const float* null, const float* change, const MemberProfile& profile,
                int64_t columns, bool stream) {
  for_lanes(columns, [&](int64_t i, auto lanes) {
    const f32x16 x =
        load(null + i, lanes) + member_profile<kMask>(profile, i, lanes) * load(change + i);
    store_result(x_next + i, x, lanes, stream);
  });
}

// The whole step of pixels whose few channels are one group with one singular value everywhere, as
// in colour pictures made grey: nothing is stored in between, with the same sums in the same order.
struct StepOfChannels {
  const Row& row;
  const MemberRow* members;
  const float* s;
  const float* u;
  int64_t columns;
  bool stream;
  static constexpr int kMembers = 3;
  // Longer runs than elsewhere: rows of several planes alternate, and memory likes that rarely.
  static constexpr int64_t kColumns = 2048;

  template <Predict kPredict, bool kNoise>
  void run() {
    const f32x16 s_here(*s), zero(0.0f), scale = direction_scale(s_here, 1.0f);
    const Weights<f32x16> null = null_weights<f32x16>(row),
                          w = less_null(measured_weights(row, s_here), null);
    for_lanes(columns, [&](int64_t i, auto lanes) __attribute__((always_inline)) {
      f32x16 n[kMembers], sum_x0 = zero, sum_eps = zero, sum_z = zero;
#pragma GCC unroll 8
      for (int j = 0; j < kMembers; ++j) {
        n[j] = null_and_sum<kPredict, kNoise, false>(row, null, members[j], i, lanes, sum_x0,
                                                     sum_eps, sum_z);
      }
      const f32x16 sum = weighted<kNoise>(w, sum_x0, sum_eps, sum_z);
      const f32x16 change = group_change(s_here, scale, w.c, load(u + i, lanes), sum);
#pragma GCC unroll 8
      for (int j = 0; j < kMembers; ++j) {
        const f32x16 profile = member_profile<false>(members[j].profile, i, lanes);
        store_result(members[j].n + i, n[j] + profile * change, lanes, stream);
      }
    });
  }
};

// The groups of one image and one group of channels.
class Groups {
 public:
  Groups(const StepArguments& step, const BlockProfile& profile, const BlockGrid& grid, int64_t b,
         int64_t group)
      : step_(step),
        profile_(profile),
        grid_(grid),
        row_(step_row(step, b)),
        b_(b),
        group_(group),
        measured_(step.u.data != nullptr),
        noise_(draws_noise(row_)),
        one_s_(measured_ && step.s.stride[3] == 0),
        stream_(measured_ && streams(step)),
        member_rows_(grid.members * grid.factor),
        at_once_(one_s_ && grid.factor == 1 && member_rows_ == StepOfChannels::kMembers &&
                 profile.mask.data == nullptr),
        room_(at_once_ ? 0 : padded(grid.tile)),
        columns_(at_once_ ? StepOfChannels::kColumns : kTile),
        buffer_(columns_ + kNoiseBuffer - kNoiseTile) {
    const int64_t rows = member_rows_ < kMemberRows ? member_rows_ : kMemberRows;
    float* scratch =
        thread_scratch(3 * room_ + columns_ + 2 * rows * buffer_ + member_rows_ * room_);
    sums_ = {scratch, scratch + room_, scratch + 2 * room_, nullptr};
    zero_ = scratch + 3 * room_;
    noise_buffer_ = zero_ + columns_;
    out_buffer_ = noise_buffer_ + rows * buffer_;
    null_ = out_buffer_ + rows * buffer_;
    std::memset(zero_, 0, columns_ * sizeof(float));
  }

  void row_of_blocks(int64_t block) const {
    const int64_t width = step_.extent.width, wide = at_once_ ? columns_ : grid_.tile;
    for (int64_t w = 0; w < width; w += wide) {
      const int64_t columns = width - w < wide ? width - w : wide;
      if (at_once_) {
        step_of_channels(block, w, columns);
      } else {
        tile(block, w, columns);
      }
    }
    if (stream_) finish_stream();
  }

 private:
  void tile(int64_t block, int64_t w, int64_t columns) const {
    const Weights<f32x16> null = null_weights<f32x16>(row_);
    Weights<f32x16> weights = null;
    if (one_s_) {
      const f32x16 s(*row_of(step_.s, b_, group_, block));
      weights = less_null(measured_weights(row_, s), null);
    }
    for (int64_t i = 0; i < columns; i += kTile) {
      const int64_t n = columns - i < kTile ? columns - i : kTile;
      for (int64_t first = 0; first < member_rows_; first += kMemberRows) {
        const int64_t rows =
            member_rows_ - first < kMemberRows ? member_rows_ - first : kMemberRows;
        sum_rows(block, first, rows, w + i, n, i, one_s_ ? &weights : nullptr);
      }
    }
    if (!measured_) return;
    change_groups(block, w, columns);
    for (int64_t j = 0; j < member_rows_; ++j) {
      const int64_t c = channel(j), h = image_row(block, j);
      const MemberProfile profile(profile_, b_, c, h, w);
      float* x_next = step_.x_next + offset(c, h) + w;
      const float* null = null_ + j * room_;
      if (profile.mask != nullptr) {
        add_change<true>(x_next, null, sums_.x0, profile, columns, stream_);
      } else {
        add_change<false>(x_next, null, sums_.x0, profile, columns, stream_);
      }
    }
  }

  int64_t channel(int64_t j) const { return group_ + j / grid_.factor; }
  int64_t image_row(int64_t block, int64_t j) const {
    return block * grid_.factor + j % grid_.factor;
  }
  int64_t offset(int64_t c, int64_t h) const {
    const Extent& e = step_.extent;
    return ((b_ * e.channels + c) * e.height + h) * e.width;
  }

  // Row j of the members as the k-th of those that are worked on together.
  MemberRow member_row(int64_t block, int64_t j, int64_t k, int64_t w, int64_t columns) const {
    const int64_t c = channel(j), h = image_row(block, j);
    const int64_t at = offset(c, h) + w;
    MemberRow member;
    member.profile = MemberProfile(profile_, b_, c, h, w);
    member.x0 = step_.x0 == nullptr ? nullptr : step_.x0 + at;
    member.n = step_.x_next + at;
    member.x_t = member.out = zero_;
    if (step_.x_t != nullptr) {
      member.x_t = step_.x_t + at;
      member.out = OutputRow(step_.out, b_, c, h * step_.extent.width)
                       .tile(w, columns, out_buffer_ + k * buffer_);
    }
    member.z = noise_ ? noise_row_of(c, h, w, columns, member, at, k) : nullptr;
    return member;
  }

  void step_of_channels(int64_t h, int64_t w, int64_t columns) const {
    MemberRow members[StepOfChannels::kMembers];
    for (int64_t j = 0; j < member_rows_; ++j) members[j] = member_row(h, j, j, w, columns);
    const float* s = row_of(step_.s, b_, group_, h);
    const float* u = row_of(step_.u, b_, group_, h) + w;
    with_row_traits(row_, noise_, StepOfChannels{row_, members, s, u, columns, stream_});
  }

  void sum_rows(int64_t block, int64_t first, int64_t rows, int64_t w, int64_t columns,
                int64_t in_tile, const Weights<f32x16>* weights) const {
    MemberRow members[kMemberRows];
    for (int64_t k = 0; k < rows; ++k) {
      members[k] = member_row(block, first + k, k, w, columns);
      if (measured_) members[k].n = null_ + (first + k) * room_ + in_tile;
    }
    const GroupSums sums{sums_.x0 + in_tile, sums_.eps + in_tile, sums_.z + in_tile, weights};
    with_row_traits(row_, noise_, NullAndSums{row_, members, rows, columns, first == 0, sums});
  }

  const float* noise_row_of(int64_t c, int64_t h, int64_t w, int64_t columns,
                            const MemberRow& member, int64_t at, int64_t k) const {
    if (step_.noise != nullptr) return step_.noise + at;
    // A streaming store wants its line in no cache.
    const Ahead ahead{{member.x_t, member.out, stream_ ? member.x_t : step_.x_next + at}};
    return fill_noise(noise_buffer_ + k * buffer_, step_noise_row(step_, b_, c, h),
                      static_cast<uint32_t>(step_.keys[b_].origin_w + w), columns, ahead);
  }

  void change_groups(int64_t block, int64_t w, int64_t columns) const {
    const int64_t r = grid_.factor, g = w / r;
    const float area = static_cast<float>(r) * static_cast<float>(r);
    const float* s = row_of(step_.s, b_, group_, block) + g * step_.s.stride[3];
    const float* u = row_of(step_.u, b_, group_, block) + g;
    fold_columns(sums_.x0, columns, r);
    if (one_s_) {
      group_changes(row_, area, *s, u, columns / r, sums_);
    } else {
      fold_columns(sums_.eps, columns, r);
      if (noise_) fold_columns(sums_.z, columns, r);
      const auto changes = noise_ ? varying_changes<true> : varying_changes<false>;
      changes(row_, area, s, step_.s.stride[3], u, columns / r, sums_);
    }
    spread_columns(sums_.x0, columns, r);
  }

  const StepArguments& step_;
  const BlockProfile& profile_;
  const BlockGrid& grid_;
  Row row_;
  int64_t b_, group_;
  bool measured_, noise_, one_s_, stream_;
  int64_t member_rows_;
  bool at_once_;
  int64_t room_, columns_, buffer_;
  GroupSums sums_;
  float *zero_, *noise_buffer_, *out_buffer_, *null_;
};

}  // namespace

// One affine step where r x r pixels, and with weights all channels, form a group with one measured
// unit direction w_j = weight_c mask_j / (s r^2); the rest of the group is null space:
//   n_j = a_null x0_j + b_null eps_j + d_null z_j
//   x_next_j = n_j + w_j ((a - a_null) <w, x0> + (b - b_null) <w, eps> + c u + (d - d_null) <w, z>)
// x_next, x_t, out, z (B, C, H, W); u (B or 1, G, H/r, W/r); s: each dimension of that full or 1.
void block_step(const StepArguments& a, const BlockProfile& profile) {
  const BlockGrid grid(a.extent, profile, a.threads);
  for_block_rows(a.extent, grid, a.threads,
                 [&](int64_t b, int64_t group, int64_t first, int64_t end) {
                   const Groups groups(a, profile, grid, b, group);
                   for (int64_t block = first; block < end; ++block) groups.row_of_blocks(block);
                 });
}

}  // namespace ddrm_fast::DDRM_FAST_ISA
