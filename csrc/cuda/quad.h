// Four numbers that lie next to each other: 16 bytes in one access where the address allows it, two
// of 8 (rows of half spectra), or one by one (the tail of a row, odd addresses).
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "ddrm_fast/box_muller.h"
#include "ddrm_fast/shapes.h"

namespace ddrm_fast::cuda {

// Aligned, so that shared memory is read and written 16 bytes at a time as well.
struct alignas(16) Quad {
  float v[4];
};

__host__ __device__ __forceinline__ bool aligned(const void* p, unsigned bytes) {
  return (reinterpret_cast<std::uintptr_t>(p) & (bytes - 1)) == 0;
}

// How four numbers are reached. Where a kernel knows that all its addresses are multiples of 16 or
// 8 bytes and all four numbers exist, it says so once and its accesses need no branch each: they
// then wait for memory together.
enum class Access { kChecked, kPairs, kWide };

// The first n of four numbers; the others are 0.
template <Access kAccess = Access::kChecked>
__device__ __forceinline__ Quad load_quad(const float* p, int n = 4) {
  Quad q;
  if (kAccess == Access::kWide || (kAccess == Access::kChecked && n == 4 && aligned(p, 16))) {
    const float4 all = *reinterpret_cast<const float4*>(p);
    q = {{all.x, all.y, all.z, all.w}};
  } else if (kAccess == Access::kPairs || (n == 4 && aligned(p, 8))) {
    const float2 low = *reinterpret_cast<const float2*>(p);
    const float2 high = *reinterpret_cast<const float2*>(p + 2);
    q = {{low.x, low.y, high.x, high.y}};
  } else {
#pragma unroll
    for (int i = 0; i < 4; ++i) q.v[i] = i < n ? p[i] : 0.0f;
  }
  return q;
}

template <Access kAccess = Access::kChecked>
__device__ __forceinline__ void store_quad(float* p, const Quad& q, int n = 4) {
  if (kAccess == Access::kWide || (kAccess == Access::kChecked && n == 4 && aligned(p, 16))) {
    *reinterpret_cast<float4*>(p) = make_float4(q.v[0], q.v[1], q.v[2], q.v[3]);
  } else if (kAccess == Access::kPairs || (n == 4 && aligned(p, 8))) {
    *reinterpret_cast<float2*>(p) = make_float2(q.v[0], q.v[1]);
    *reinterpret_cast<float2*>(p + 2) = make_float2(q.v[2], q.v[3]);
  } else {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (i < n) p[i] = q.v[i];
    }
  }
}

// A field along its last dimension, which is contiguous or broadcast.
template <Access kAccess = Access::kChecked>
__device__ __forceinline__ Quad load_field(const float* row, int64_t stride, int64_t at, int n) {
  if (stride != 0) return load_quad<kAccess>(row + at, n);
  const float value = *row;
  return {{value, value, value, value}};
}

// Exactly: the exponent is moved by a multiplication, which also makes subnormal numbers normal.
__device__ __forceinline__ float from_float16(uint32_t half) {
  const uint32_t magnitude = (half & 0x7FFFu) << 13;
  const uint32_t bits =
      magnitude < 0x0F800000u ? as_bits(as_float(magnitude) * 0x1p112f) : magnitude | 0x7F800000u;
  return as_float(bits | (half & 0x8000u) << 16);
}

__device__ __forceinline__ float from_bfloat16(uint32_t half) { return as_float(half << 16); }

// Four numbers of a network's output as they lie in memory: words of float32, or two halves a word.
// To convert them means to wait for them, so that is a step of its own.
struct Output {
  uint32_t word[4];
};

// `at` counts numbers from the beginning of the plane.
template <Access kAccess = Access::kChecked>
__device__ __forceinline__ Output load_output(const NetworkOutput& out, int64_t b, int64_t c,
                                              int64_t at, int n) {
  const int64_t offset = b * out.batch_stride + c * out.channel_stride + at;
  if (out.type == OutputType::kFloat32) {
    const Quad q = load_quad<kAccess>(static_cast<const float*>(out.data) + offset, n);
    return {{as_bits(q.v[0]), as_bits(q.v[1]), as_bits(q.v[2]), as_bits(q.v[3])}};
  }
  const uint16_t* p = static_cast<const uint16_t*>(out.data) + offset;
  if (kAccess == Access::kWide || (n == 4 && aligned(p, 8))) {
    const uint2 all = *reinterpret_cast<const uint2*>(p);
    return {{all.x, all.y, 0u, 0u}};
  } else {
    uint32_t half[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) half[i] = i < n ? p[i] : 0u;
    return {{half[0] | half[1] << 16, half[2] | half[3] << 16, 0u, 0u}};
  }
}

__device__ __forceinline__ Quad to_float(const Output& output, OutputType type) {
  Quad q;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const uint32_t half = output.word[i / 2] >> (16 * (i % 2)) & 0xFFFFu;
    if (type == OutputType::kFloat32) {
      q.v[i] = as_float(output.word[i]);
    } else {
      q.v[i] = type == OutputType::kFloat16 ? from_float16(half) : from_bfloat16(half);
    }
  }
  return q;
}

}  // namespace ddrm_fast::cuda
