#include "spectral_common.h"

namespace ddrm_fast::DDRM_FAST_ISA {
namespace {

constexpr int kFields = 3;  // x0, eps, z

// Rows p and -p of the measured grid and all rows of the picture's spectrum that alias onto them:
// with the half spectrum's conjugate mirror this set is closed, so one task needs no other.
class AliasRows {
 public:
  AliasRows(const StepArguments& step, const AliasArguments& alias, int64_t b, int64_t c, int64_t p)
      : step_(step),
        alias_(alias),
        row_(step_row(step, b)),
        noise_(step, alias.width),
        noisy_(draws_noise(row_)),
        b_(b),
        c_(c),
        half_(step.extent.width),
        measured_height_(step.extent.height / alias.factor),
        measured_width_(alias.width / alias.factor),
        measured_half_(measured_width_ / 2 + 1) {
    side_[0] = p;
    side_[1] = (measured_height_ - p) % measured_height_;
    sides_ = side_[0] == side_[1] ? 1 : 2;
    const int64_t products = pad(2 * half_), sums = pad(2 * measured_half_);
    const int64_t change = pad(2 * measured_width_);
    float* scratch = thread_scratch(kFields * products + 2 * kFields * sums + 2 * change);
    for (float*& product : product_) {
      product = scratch;
      scratch += products;
    }
    std::memset(scratch, 0, 2 * kFields * sums * sizeof(float));
    for (auto& side : sum_) {
      for (float*& sum : side) {
        sum = scratch;
        scratch += sums;
      }
    }
    change_[0] = scratch;
    change_[1] = scratch + change;
  }

  void run(TileBuffers& buffers) const {
    const bool measured = step_.u.data != nullptr;
    for_rows([&](int side, int64_t h) {
      for (int64_t k = 0; k < half_; k += kSpectralTile) {
        const int64_t n = half_ - k < kSpectralTile ? half_ - k : kSpectralTile;
        if (noisy_) {
          null_and_products<true>(h, k, n, measured, buffers);
        } else {
          null_and_products<false>(h, k, n, measured, buffers);
        }
      }
      if (measured) {
        for (int field = 0; field < (noisy_ ? 3 : 2); ++field) fold(side, field);
      }
    });
    if (!measured) return;
    for (int side = 0; side < sides_; ++side) group_changes(side);
    for (int side = 0; side < sides_; ++side) mirror_changes(side);
    for_rows([&](int side, int64_t h) { add_changes(side, h); });
  }

 private:
  static int64_t pad(int64_t floats) { return (floats + 2 * kLanes - 1) / kLanes * kLanes; }

  template <class Function>
  void for_rows(const Function& function) const {
    for (int side = 0; side < sides_; ++side) {
      for (int64_t h = side_[side]; h < step_.extent.height; h += measured_height_) {
        function(side, h);
      }
    }
  }

  int64_t offset(int64_t h) const {
    const Extent& e = step_.extent;
    return 2 * (((b_ * e.channels + c_) * e.height + h) * e.width);
  }

  // Writes N = (a_null X0 + b_null EPS) + d_null Z, and the products of X0, EPS and Z with the
  // kernel.
  template <bool kNoise>
  void null_and_products(int64_t h, int64_t k, int64_t n, bool measured,
                         TileBuffers& buffers) const {
    const Weights<f32x16> null = null_weights<f32x16>(row_);
    const int64_t at = offset(h) + 2 * k;
    const bool initial = step_.x_t == nullptr;
    const float* x_t = initial ? buffers.zero : step_.x_t + at;
    const float* out = initial ? buffers.zero : static_cast<const float*>(step_.out.data) + at;
    const float* z = kNoise ? noise_.tile(b_, c_, h, k, n, buffers.noise) : nullptr;
    const float* kernel = row_of(alias_.kernel, b_, c_, h) + 2 * k;
    float* x_next = step_.x_next + at;
    for_lanes(2 * n, [&](int64_t i, auto lanes) {
      const Prediction<f32x16> p =
          predict<Predict::kAny>(row_, load(x_t + i, lanes), load(out + i, lanes));
      f32x16 x = null.a * p.x0 + null.b * p.eps;
      f32x16 noise;
      if (kNoise) {
        noise = load(z + i, lanes);
        x = x + null.d * noise;
      }
      store(x_next + i, x, lanes);
      if (!measured) return;
      const f32x16 both = load(kernel + i, lanes);
      const f32x16 real = real_parts(both), imaginary = imaginary_parts(both) ^ real_signs();
      auto put = [&](int field, f32x16 v) {
        store(product_[field] + 2 * k + i, v * real + swap_parts(v) * imaginary);
      };
      put(0, p.x0);
      put(1, p.eps);
      if (kNoise) put(2, noise);
    });
  }

  // Adds a row's products to their groups: column k belongs to group k mod width / r of this side;
  // its mirror, the conjugate at column width - k, to a group of the other side.
  void fold(int side, int field) const {
    const float* product = product_[field];
    float* direct = sum_[side][field];
    float* mirrored = sum_[sides_ - 1 - side][field];
    for (int64_t start = 0; start < half_; start += measured_width_) {
      const float* block = product + 2 * start;
      const int64_t columns = half_ - start;
      const int64_t n = columns < measured_half_ ? columns : measured_half_;
      for_lanes(2 * n, [&](int64_t i, auto lanes) {
        store(direct + i, load(direct + i, lanes) + load(block + i, lanes), lanes);
      });
      for (int64_t q = 0; q < measured_half_; ++q) {
        const int64_t j = q == 0 ? 0 : measured_width_ - q;
        const int64_t k = start + j;
        if (k == 0 || 2 * k >= alias_.width) continue;
        mirrored[2 * q] += block[2 * j];
        mirrored[2 * q + 1] -= block[2 * j + 1];
      }
    }
  }

  // Change of each group, ((a - a_null) <w, X0> + (b - b_null) <w, EPS> + c U + (d - d_null) <w,
  // Z>), times 1 / (s r); 0 where nothing is measured.
  void group_changes(int side) const {
    const Weights<f32x16> null = null_weights<f32x16>(row_);
    const int64_t p = side_[side], stride = step_.s.stride[3];
    const float* s_row = row_of(step_.s, b_, c_, p);
    const float* u = row_of(step_.u, b_, c_, p);
    const f32x16 zero(0.0f);
    for_lanes(measured_half_, [&](int64_t i, auto lanes) {
      const f32x16 s = load_strided(s_row, stride, i, lanes);
      const Weights<f32x16> w = measured_weights(row_, s);
      const f32x16 scale = f32x16(1.0f) / (s * f32x16(static_cast<float>(alias_.factor)));
      const f32x16 weight[5] = {w.a - null.a, w.b - null.b, w.c, w.d - null.d, scale};
      f32x16 first[5], second[5], s_first, s_second;
      for (int j = 0; j < 5; ++j) duplicate_lanes(weight[j], first[j], second[j]);
      duplicate_lanes(s, s_first, s_second);
      auto put = [&](int64_t at, const f32x16* v, f32x16 here, auto half) {
        f32x16 change = v[0] * (v[4] * load(sum_[side][0] + at, half)) +
                        v[1] * (v[4] * load(sum_[side][1] + at, half));
        change = change + v[2] * load(u + at, half);
        if (noisy_) change = change + v[3] * (v[4] * load(sum_[side][2] + at, half));
        store(change_[side] + at, select(less(zero, here), v[4] * change, zero), half);
      };
      put(2 * i, first, s_first, first_half(lanes));
      put(2 * i + kLanes, second, s_second, second_half(lanes));
    });
  }

  // Groups beyond the measured half spectrum are conjugates of groups of the other side.
  void mirror_changes(int side) const {
    const float* other = change_[sides_ - 1 - side];
    float* change = change_[side];
    for (int64_t q = measured_half_; q < measured_width_; ++q) {
      change[2 * q] = other[2 * (measured_width_ - q)];
      change[2 * q + 1] = -other[2 * (measured_width_ - q) + 1];
    }
  }

  // X_next_j = N_j + conj(w_j) times the change of its group.
  void add_changes(int side, int64_t h) const {
    const float* kernel_row = row_of(alias_.kernel, b_, c_, h);
    float* x_row = step_.x_next + offset(h);
    const float* change = change_[side];
    for (int64_t start = 0; start < half_; start += measured_width_) {
      const int64_t n = half_ - start < measured_width_ ? half_ - start : measured_width_;
      const float* kernel = kernel_row + 2 * start;
      float* x_next = x_row + 2 * start;
      for_lanes(2 * n, [&](int64_t i, auto lanes) {
        const f32x16 both = load(kernel + i, lanes), v = load(change + i, lanes);
        const f32x16 imaginary = imaginary_parts(both) ^ imaginary_signs();
        const f32x16 lifted = v * real_parts(both) + swap_parts(v) * imaginary;
        store(x_next + i, load(x_next + i, lanes) + lifted, lanes);
      });
    }
  }

  const StepArguments& step_;
  const AliasArguments& alias_;
  Row row_;
  SpectralNoise noise_;
  bool noisy_;
  int64_t b_, c_;
  int64_t half_, measured_height_, measured_width_, measured_half_;
  int64_t side_[2];
  int sides_;
  float* product_[kFields];
  float* sum_[2][kFields];
  float* change_[2];
};

}  // namespace

// One affine step for a blur followed by decimation by r: the r^2 frequencies that alias form a
// group with unit direction w_j = kernel_j / (s r), <w, V> = sum_j w_j V_j:
//   N_j = a_null X0_j + b_null EPS_j + d_null Z_j
//   X_next_j = N_j + conj(w_j) ((a - a_null) <w, X0> + (b - b_null) <w, EPS> + c U
//                               + (d - d_null) <w, Z>)
// X (B, C, H, width / 2 + 1) and kernel (1 or B, 1 or C, H, width / 2 + 1) complex64; on the
// measured half grid (H / r, width / r / 2 + 1): U (B or 1, C, ...) complex64 and s (1 or B, 1 or
// C, ...).
void alias_step(const StepArguments& a, const AliasArguments& alias) {
  const Extent& e = a.extent;
  const int64_t measured_height = e.height / alias.factor, pairs = measured_height / 2 + 1;
  const int64_t floats = 2 * e.batch * e.channels * e.height * e.width;
  parallel(e.batch * e.channels * pairs, floats, a.threads, [&](int64_t task) {
    TileBuffers buffers;
    if (a.x_t == nullptr) std::memset(buffers.zero, 0, sizeof(buffers.zero));
    const int64_t plane = task / pairs;
    AliasRows(a, alias, plane / e.channels, plane % e.channels, task % pairs).run(buffers);
  });
}

}  // namespace ddrm_fast::DDRM_FAST_ISA
