// White noise in registers: Philox4x32-10 and Box-Muller; the layout is that of
// ddrm_fast/philox.h.
#pragma once

#include "ddrm_fast/box_muller.h"
#include "ddrm_fast/philox.h"
#include "quad.h"

namespace ddrm_fast::cuda {

// What all normals of one image row share.
struct NoiseRow {
  uint32_t key0, key1, h, plane, iteration;
};

__device__ __forceinline__ NoiseRow noise_row(const NoiseKey& key, int64_t channels, int64_t c,
                                              int64_t h, uint32_t iteration) {
  const uint64_t seed = static_cast<uint64_t>(key.seed);
  const uint64_t plane = static_cast<uint64_t>(key.sample) * static_cast<uint64_t>(channels) +
                         static_cast<uint64_t>(c);
  return {low_word(seed), high_word(seed), static_cast<uint32_t>(key.origin_h + h),
          static_cast<uint32_t>(plane), iteration};
}

// The four normals of one counter.
__device__ __forceinline__ Quad normals_of_counter(const NoiseRow& row, uint32_t counter) {
  const PhiloxWords w =
      philox4x32({{counter, row.h, row.plane, row.iteration}}, row.key0, row.key1);
  Quad z;
  box_muller(w.word[0], w.word[1], z.v[0], z.v[1]);
  box_muller(w.word[2], w.word[3], z.v[2], z.v[3]);
  return z;
}

// Normals of four columns from `column` on, modulo 2^32. Windows whose origin is not a multiple of
// four straddle two counters, at twice the arithmetic.
__device__ __forceinline__ Quad normals(const NoiseRow& row, uint32_t column) {
  const Quad first = normals_of_counter(row, column >> 2);
  const uint32_t lane = column & 3u;
  if (lane == 0) return first;
  const Quad second = normals_of_counter(row, ((column >> 2) + 1) & 0x3FFFFFFFu);
  // Shifted by one and by two, so that every index is known to the compiler.
  float all[8];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    all[i] = first.v[i];
    all[i + 4] = second.v[i];
  }
#pragma unroll
  for (int i = 0; i < 7; ++i) all[i] = (lane & 1u) != 0 ? all[i + 1] : all[i];
#pragma unroll
  for (int i = 0; i < 6; ++i) all[i] = (lane & 2u) != 0 ? all[i + 2] : all[i];
  return {{all[0], all[1], all[2], all[3]}};
}

// The normal of one column.
__device__ __forceinline__ float normal_at(const NoiseRow& row, uint32_t column) {
  const Quad z = normals_of_counter(row, column >> 2);
  const float low = (column & 1u) != 0 ? z.v[1] : z.v[0];
  const float high = (column & 1u) != 0 ? z.v[3] : z.v[2];
  return (column & 2u) != 0 ? high : low;
}

}  // namespace ddrm_fast::cuda
