// Which numbers a thread works on.
#pragma once

#include <cstdint>

#include "launch.h"

namespace ddrm_fast::cuda {

struct Split {
  int64_t quotient, remainder;
};

// Division of numbers that are not negative. One of 64 bits costs five times one of 32, so where
// both numbers are small, as nearly always, the short one runs: the branch is the same for a warp.
__device__ __forceinline__ Split split(int64_t n, int64_t divisor) {
  if (((n | divisor) >> 32) == 0) {
    const uint32_t quotient = static_cast<uint32_t>(n) / static_cast<uint32_t>(divisor);
    return {quotient, static_cast<uint32_t>(n) - quotient * static_cast<uint32_t>(divisor)};
  }
  return {n / divisor, n % divisor};
}

__device__ __forceinline__ int64_t thread_index() {
  return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}

struct PlaneIndex {
  int64_t b, c;
};

__device__ __forceinline__ PlaneIndex plane_index(int64_t plane, int64_t channels) {
  const Split s = split(plane, channels);
  return {s.quotient, s.remainder};
}

}  // namespace ddrm_fast::cuda
