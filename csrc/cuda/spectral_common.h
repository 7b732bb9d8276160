// Half spectra (B, C, H, width / 2 + 1) of rfft2(norm="ortho"): Hermitian white noise.
//
// It is the unitary transform of real white noise. Coefficient (h, k) takes the normals of columns
// 2k and 2k + 1 as (re, im) / sqrt(2). In a column that is its own mirror (k = 0, and k = width / 2
// where width is even) a row with 2h > H is the conjugate of row H - h, and a coefficient that is
// its own mirror is real, the first normal alone.
#pragma once

#include "ddrm_fast/dct.h"
#include "step_common.h"

namespace ddrm_fast::cuda {

constexpr float kRootHalf = 0.70710678118654752f;

__device__ __forceinline__ Complex load_complex(const float* p) {
  if (aligned(p, 8)) {
    const float2 both = *reinterpret_cast<const float2*>(p);
    return {both.x, both.y};
  }
  return {p[0], p[1]};
}

__device__ __forceinline__ void store_complex(float* p, Complex z) {
  if (aligned(p, 8)) {
    *reinterpret_cast<float2*>(p) = make_float2(z.re, z.im);
  } else {
    p[0] = z.re;
    p[1] = z.im;
  }
}

__device__ __forceinline__ bool own_mirror(int64_t k, int64_t width) {
  return k == 0 || 2 * k == width;
}

// The normals of columns 2k and 2k + 1 of a row.
__device__ __forceinline__ Complex normal_pair(const StepArguments& a, int64_t b, int64_t c,
                                               int64_t h, int64_t k) {
  const NoiseRow row = step_noise_row(a, b, c, h);
  const uint32_t column = static_cast<uint32_t>(a.keys[b].origin_w + 2 * k);
  if ((column & 3u) == 3u) return {normal_at(row, column), normal_at(row, column + 1)};
  const Quad z = normals_of_counter(row, column >> 2);
  if ((column & 3u) == 0) return {z.v[0], z.v[1]};
  return (column & 3u) == 1 ? Complex{z.v[1], z.v[2]} : Complex{z.v[2], z.v[3]};
}

// Hermitian noise of one coefficient.
__device__ __forceinline__ Complex hermitian_normal(const StepArguments& a, int64_t width,
                                                    int64_t b, int64_t c, int64_t h, int64_t k) {
  const int64_t height = a.extent.height;
  const bool mirrored = own_mirror(k, width);
  const bool conjugate = mirrored && 2 * h > height;
  const Complex z = normal_pair(a, b, c, conjugate ? height - h : h, k);
  if (mirrored && (h == 0 || 2 * h == height)) return {z.re, 0.0f};
  const float im = z.im * kRootHalf;
  return {z.re * kRootHalf, conjugate ? -im : im};
}

}  // namespace ddrm_fast::cuda
