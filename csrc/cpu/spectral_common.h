// Half spectra (B, C, H, width / 2 + 1) of rfft2(norm="ortho"): white noise and lanes of pairs.
#pragma once

#include "step_common.h"

namespace ddrm_fast::DDRM_FAST_ISA {

constexpr int64_t kSpectralTile = kTile / 2;  // coefficients
constexpr float kRootHalf = 0.70710678118654752f;

DDRM_INLINE AllLanes first_half(AllLanes) { return {}; }
DDRM_INLINE AllLanes second_half(AllLanes) { return {}; }
DDRM_INLINE FirstLanes first_half(FirstLanes pairs) {
  return {2 * pairs.count < kLanes ? 2 * pairs.count : kLanes};
}
DDRM_INLINE FirstLanes second_half(FirstLanes pairs) {
  return {2 * pairs.count < kLanes ? 0 : 2 * pairs.count - kLanes};
}

// Hermitian white noise, the unitary transform of real white noise. Coefficient (h, k) takes the
// normals of columns 2k and 2k + 1 as (re, im) / sqrt(2). In a column that is its own mirror (k =
// 0, and k = width / 2 where width is even) a row with 2h > H is the conjugate of row H - h, and a
// coefficient that is its own mirror is real, the first normal alone.
class SpectralNoise {
 public:
  SpectralNoise(const StepArguments& step, int64_t width) : step_(step), width_(width) {}

  // Noise of n <= kSpectralTile coefficients of row h from column k on, as pairs.
  const float* tile(int64_t b, int64_t c, int64_t h, int64_t k, int64_t n, float* buffer) const {
    const Extent& e = step_.extent;
    if (step_.noise != nullptr) {
      return step_.noise + 2 * (((b * e.channels + c) * e.height + h) * e.width + k);
    }
    const int64_t lead = fill(b, c, h, k, n, buffer);
    float* z = buffer + lead;
    for (int64_t i = 0; i < lead + 2 * n; i += kLanes) {
      store(buffer + i, load(buffer + i) * f32x16(kRootHalf));
    }
    if (k == 0) mend(b, c, h, 0, z);
    const int64_t last = width_ / 2;
    if (width_ % 2 == 0 && last > 0 && k <= last && last < k + n) {
      mend(b, c, h, last, z + 2 * (last - k));
    }
    return z;
  }

 private:
  int64_t fill(int64_t b, int64_t c, int64_t h, int64_t k, int64_t n, float* buffer) const {
    const NoiseRow row = step_noise_row(step_, b, c, h);
    const uint32_t w = static_cast<uint32_t>(step_.keys[b].origin_w + 2 * k);
    return fill_noise(buffer, row, w, 2 * n) - buffer;
  }

  void mend(int64_t b, int64_t c, int64_t h, int64_t k, float* z) const {
    const int64_t height = step_.extent.height;
    alignas(64) float buffer[4 * kNoiseStep];
    if (h == 0 || 2 * h == height) {
      z[0] = buffer[fill(b, c, h, k, 1, buffer)];
      z[1] = 0.0f;
    } else if (2 * h > height) {
      const float* mirror = buffer + fill(b, c, height - h, k, 1, buffer);
      z[0] = mirror[0] * kRootHalf;
      z[1] = -(mirror[1] * kRootHalf);
    }
  }

  const StepArguments& step_;
  int64_t width_;
};

}  // namespace ddrm_fast::DDRM_FAST_ISA
