#include "fwht_pass.h"

namespace ddrm_fast::cuda {
namespace {

// Planes of fewer than 32 numbers: a thread for each.
__global__ void __launch_bounds__(kThreads)
    fwht_small_kernel(float* y, const float* x, int64_t planes, int length, float scale) {
  constexpr int kMost = 16;
  const int64_t plane = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (plane >= planes) return;
  float v[kMost];
#pragma unroll
  for (int i = 0; i < kMost; ++i) v[i] = i < length ? x[plane * length + i] : 0.0f;
#pragma unroll
  for (int span = 1; span < kMost; span *= 2) {
    if (span < length) {
#pragma unroll
      for (int i = 0; i < kMost; ++i) {
        if ((i & span) == 0) {
          const float a = v[i], b = v[i + span];
          v[i] = a + b;
          v[i + span] = a - b;
        }
      }
    }
  }
#pragma unroll
  for (int i = 0; i < kMost; ++i) {
    if (i < length) y[plane * length + i] = v[i] * scale;
  }
}

}  // namespace

int fwht_passes(int64_t n) {
  int passes = 1;
  for (int left = log2_of(n) - kFirstBits; left > 0; left -= next_row_bits(left)) ++passes;
  return passes;
}

// y = (H_2 x ... x H_2) x / sqrt(n), H_2 = [[1, 1], [1, -1]]: the orthonormal Walsh-Hadamard
// transform in natural order of each of the planes of n = 2^m numbers. y may be x. Every pass reads
// and writes the planes once; the scale goes into the last.
void fwht(float* y, const float* x, int64_t planes, int64_t n, const Place& place) {
  const int bits = log2_of(n);
  const float scale = fwht_scale(n);
  if (bits < kColumnBits) {
    const LaunchShape shape = over_planes(planes, 1);
    return launch("fwht", fwht_small_kernel, shape, place, y, x, planes, static_cast<int>(n),
                  scale);
  }
  int done = bits < kFirstBits ? bits : kFirstBits;
  const bool wide = aligned(x, 16) && aligned(y, 16);
  run_pass<true>(done - kColumnBits, Numbers{x}, Scaled{y, done == bits ? scale : 1.0f}, planes * n,
                 0, wide, place);
  while (done < bits) {
    const int now = next_row_bits(bits - done);
    run_pass<false>(now, Numbers{y}, Scaled{y, done + now == bits ? scale : 1.0f}, planes * n, done,
                    aligned(y, 16), place);
    done += now;
  }
}

}  // namespace ddrm_fast::cuda
