// White noise by rows: Philox4x32-10 on eight counters at a time, Box-Muller on sixteen lanes.
// The exact layout is specified in ddrm_fast/philox.h, the normals in ddrm_fast/box_muller.h.
#pragma once

#include "ddrm_fast/box_muller.h"
#include "ddrm_fast/philox.h"
#include "simd.h"

namespace ddrm_fast::DDRM_FAST_ISA {

// What all counters of one image row share: round keys, and the first two rounds as far as they do
// not depend on the column.
struct NoiseRow {
  uint64_t key0[kPhiloxRounds], key1[kPhiloxRounds];
  uint64_t round0_word3, round1_word1, round1_product0;
};

DDRM_INLINE NoiseRow noise_row(int64_t seed, uint32_t h, uint32_t plane, uint32_t iteration) {
  NoiseRow row;
  uint32_t k0 = static_cast<uint32_t>(seed);
  uint32_t k1 = static_cast<uint32_t>(static_cast<uint64_t>(seed) >> 32);
  for (int i = 0; i < kPhiloxRounds; ++i) {
    row.key0[i] = k0;
    row.key1[i] = k1;
    k0 += kPhiloxW0;
    k1 += kPhiloxW1;
  }
  const uint64_t p1 = static_cast<uint64_t>(kPhiloxM1) * plane;
  const uint32_t word0 = high_word(p1) ^ h ^ static_cast<uint32_t>(row.key0[0]);
  row.round0_word3 = iteration ^ row.key1[0];
  row.round1_word1 = low_word(p1) ^ row.key0[1];
  row.round1_product0 = static_cast<uint64_t>(kPhiloxM0) * word0;
  return row;
}

// Lane order of the eight counters: with it, an interleave inside 128-bit lanes puts the 32 normals
// in the order of their pixels.
DDRM_INLINE u64x8 counter_lanes() {
  static const uint64_t order[8] = {0, 4, 1, 5, 2, 6, 3, 7};
  u64x8 lanes;
  std::memcpy(&lanes, order, sizeof(lanes));
  return lanes;
}

// Three streams that are read or written right after the noise: their lines are asked for between
// the rounds. Measured: a fifth less time for block steps, whose rows the processor's own
// read-ahead misses; for steps that run along one row a tenth to a sixth less with AVX2, and
// nothing with AVX-512.
struct Ahead {
  const float* stream[3];

  __attribute__((always_inline)) void fetch_line(int64_t at) const {
    for (const float* p : stream) __builtin_prefetch(p + at);
  }
};

struct NothingAhead {
  __attribute__((always_inline)) void fetch_line(int64_t) const {}
};

// Normals of the 32 kGroups pixels that belong to consecutive counters. Groups of eight counters
// are worked on side by side: one chain of rounds alone would wait for its own multiplications.
template <int kGroups, class Streams>
DDRM_INLINE void normals(const NoiseRow& row, u64x8 column, float* buffer, int64_t at,
                         const Streams& ahead) {
  constexpr int kLines = 2 * kGroups, kRoundLines = kPhiloxRounds - 3;
  static_assert(kLines <= kRoundLines + 1, "every line of the streams is asked for once");
  const u64x8 m0 = splat64(kPhiloxM0), m1 = splat64(kPhiloxM1);
  u64x8 p0[kGroups], p1[kGroups], word0[kGroups], word1[kGroups], word2[kGroups], word3[kGroups];
#pragma GCC unroll 8
  for (int g = 0; g < kGroups; ++g) {
    p0[g] = multiply_low(column + splat64(8 * g), m0);
    p1[g] = multiply_low(high_to_low(p0[g]) ^ splat64(row.round0_word3), m1);
    word0[g] = high_to_low(p1[g]) ^ splat64(row.round1_word1);
    word2[g] = p0[g] ^ splat64((row.round1_product0 >> 32) ^ row.key1[1]);
    word1[g] = p1[g];
    word3[g] = splat64(row.round1_product0);
  }
#pragma GCC unroll 8
  for (int i = 2; i < kPhiloxRounds - 1; ++i) {
    if (i - 2 < kLines) ahead.fetch_line(at + kLanes * (i - 2));
#pragma GCC unroll 8
    for (int g = 0; g < kGroups; ++g) {
      p0[g] = multiply_low(word0[g], m0);
      p1[g] = multiply_low(word2[g], m1);
      word0[g] = xor3(high_to_low(p1[g]), word1[g], splat64(row.key0[i]));
      word2[g] = xor3(high_to_low(p0[g]), word3[g], splat64(row.key1[i]));
      word1[g] = p1[g];
      word3[g] = p0[g];
    }
  }
  constexpr int kLast = kPhiloxRounds - 1;
  u32x16 radius_word[kGroups], angle_word[kGroups];
#pragma GCC unroll 8
  for (int g = 0; g < kGroups; ++g) {
    p0[g] = multiply_low(word0[g], m0);
    p1[g] = multiply_low(word2[g], m1);
    word0[g] = xor3(high_to_low(p1[g]), word1[g], splat64(row.key0[kLast]));
    word2[g] = xor3(p0[g], low_to_high(word3[g]), splat64(row.key1[kLast] << 32));
    radius_word[g] = merge_halves(word0[g], word2[g]);
    angle_word[g] = merge_halves(p1[g], low_to_high(p0[g]));
  }
#pragma GCC unroll 8
  for (int g = 0; g < kGroups; ++g) {
    if (g == 0 && kLines > kRoundLines) ahead.fetch_line(at + kLanes * kRoundLines);
    f32x16 cosine, sine, first, second;
    box_muller(radius_word[g], angle_word[g], cosine, sine);
    interleave_lanes(cosine, sine, first, second);
    store(buffer + at + 32 * g, first);
    store(buffer + at + 32 * g + kLanes, second);
  }
}

// Measured: with AVX-512 four groups take two thirds of the time of one; two native vectors a value
// are independent chains already.
constexpr int kNoiseGroups = kParts == 1 ? 4 : 1;
constexpr int64_t kNoiseStep = 32;
constexpr int64_t kNoiseTile = 512;
// A tile may begin inside a counter, and ends in a whole step.
constexpr int64_t kNoiseBuffer = kNoiseTile + 4 * kNoiseStep;

// Normals of n pixels from column w on; returns where in the buffer they begin. The buffer has room
// for n + 4 kNoiseStep numbers.
template <class Streams = NothingAhead>
static inline const float* fill_noise(float* buffer, const NoiseRow& row, uint32_t w, int64_t n,
                                      const Streams& ahead = {}) {
  const int64_t lead = w & 3u;
  const int64_t total = lead + n;
  const u64x8 lanes = counter_lanes();
  constexpr int64_t kCounters = int64_t{1} << 30;
  int64_t counter = w >> 2;
  for (int64_t done = 0; done < total;) {
    // Columns wrap at 2^32, counters therefore at 2^30.
    const int64_t whole = done + 4 * (kCounters - counter);
    const int64_t stop = total < whole ? total : whole;
    u64x8 column = lanes + splat64(counter);
    int64_t i = done;
    for (; i + kNoiseStep * kNoiseGroups <= stop; i += kNoiseStep * kNoiseGroups) {
      normals<kNoiseGroups>(row, column, buffer, i, ahead);
      column = column + splat64(8 * kNoiseGroups);
    }
    for (; i < stop; i += kNoiseStep) {
      normals<1>(row, column, buffer, i, ahead);
      column = column + splat64(8);
    }
    done = stop;
    counter = 0;
  }
  return buffer + lead;
}

}  // namespace ddrm_fast::DDRM_FAST_ISA
