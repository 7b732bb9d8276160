// What kernels of networks share: numbers of any type, and a depthwise stencil at a pixel.
#pragma once

#include <cmath>

#include "ddrm_fast/channels.h"
#include "ddrm_fast/gelu.h"
#include "index.h"
#include "quad.h"

namespace ddrm_fast::cuda {

__device__ __forceinline__ int64_t place_in(const Planes& p, int64_t b, int64_t c, int64_t at) {
  return b * p.batch_stride + c * p.channel_stride + at;
}

__device__ __forceinline__ float load_number(const Planes& p, int64_t b, int64_t c, int64_t at) {
  const int64_t i = place_in(p, b, c, at);
  if (p.type == OutputType::kFloat32) return static_cast<const float*>(p.data)[i];
  const uint32_t half = static_cast<const uint16_t*>(p.data)[i];
  return p.type == OutputType::kFloat16 ? from_float16(half) : from_bfloat16(half);
}

// Rounds to the nearest, to even in the middle; NaN stays NaN.
__device__ __forceinline__ uint16_t to_bfloat16(float a) {
  const uint32_t bits = as_bits(a);
  if (a != a) return 0x7FC0u;
  return static_cast<uint16_t>((bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16);
}

__device__ __forceinline__ uint16_t to_float16(float a) {
  const uint32_t bits = as_bits(a), sign = bits >> 16 & 0x8000u, m = bits & 0x7FFFFFFFu;
  const float magnitude = as_float(m);
  uint32_t r;
  if (a != a) {
    r = 0x7E00u;
  } else if (magnitude < 0x1p-14f) {  // the sum with 0.5 rounds as the format does
    r = as_bits(magnitude + 0.5f) - 0x3F000000u;
  } else {
    r = magnitude < 65520.0f ? (m + 0xC8000FFFu + (m >> 13 & 1u)) >> 13 : 0x7C00u;
  }
  return static_cast<uint16_t>(r | sign);
}

__device__ __forceinline__ void store_number(const Planes& p, int64_t b, int64_t c, int64_t at,
                                             float a) {
  const int64_t i = place_in(p, b, c, at);
  if (p.type == OutputType::kFloat32) {
    static_cast<float*>(p.data)[i] = a;
  } else {
    static_cast<uint16_t*>(p.data)[i] =
        p.type == OutputType::kFloat16 ? to_float16(a) : to_bfloat16(a);
  }
}

// The stencil of channel c of x around row r and column w of a result with so many rows.
__device__ __forceinline__ float depthwise_at(const Planes& x, const Depthwise& d, int64_t b,
                                              int64_t c, int64_t r, int64_t w, int64_t height,
                                              int64_t width) {
  const int64_t rows = height + 2 - d.top - d.bottom;
  float sum = d.bias == nullptr ? 0.0f : d.bias[c];
  for (int i = 0; i < 3; ++i) {
    const int64_t row = r + i - d.top;
    if (row < 0 || row >= rows) continue;
    for (int j = 0; j < 3; ++j) {
      const int64_t column = w + j - 1;
      if (column < 0 || column >= width) continue;
      sum += load_number(x, b, c, row * width + column) * d.weight[c * 9 + i * 3 + j];
    }
  }
  return sum;
}

__device__ __forceinline__ float sum_of_warp(float a) {
  for (int distance = 16; distance > 0; distance /= 2) {
    a += __shfl_xor_sync(0xFFFFFFFFu, a, distance);
  }
  return a;
}

}  // namespace ddrm_fast::cuda
