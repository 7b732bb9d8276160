// White noise by rows: Philox4x32-10 on eight counters at a time, Box-Muller on sixteen lanes.
// The exact layout is specified in ddrm_fast/philox.h.
#pragma once

#include "ddrm_fast/philox.h"
#include "simd.h"

namespace ddrm_fast::DDRM_FAST_ISA {

// Box-Muller: Box, Muller 1958. -ln u = -(e ln 2 + 2 atanh((m - 1) / (m + 1))) with u = 2^e m and m
// in [sqrt(1/2), sqrt(2)); the polynomials are least-maximum fits on the reduced ranges.
//
// The angle 2 pi u is pi/4 (2 q + 1) + pi/2 t with q the top two bits and t in (-1/2, 1/2). With
// C = cos(pi/2 t), S = sin(pi/2 t) of t (negated in odd quadrants), cos and sin of the angle are
// sqrt(1/2) (C - S) and sqrt(1/2) (C + S) up to signs that are bits of the word, and the factor
// turns sqrt(-2 ln u) into sqrt(-ln u).
DDRM_INLINE void box_muller(u32x16 radius_word, u32x16 angle_word, f32x16& cosine, f32x16& sine) {
  const u32x16 one = splat(0x3F800000u), sign = splat(0x80000000u);

  const f32x16 u = as_float(shift_right<9>(radius_word) | one) - f32x16(0x1.fffffep-1f);
  const u32x16 offset = as_bits(u) - splat(0x3F3504F3u);
  const f32x16 exponent = to_float(shift_right_signed<23>(offset));
  const f32x16 mantissa = as_float(as_bits(u) - (offset & splat(0xFF800000u)));
  const f32x16 ratio = (mantissa - f32x16(1.0f)) / (mantissa + f32x16(1.0f));
  const f32x16 square = ratio * ratio;
  const f32x16 series =
      (f32x16(-0.41297468543052673f) * square + f32x16(-0.6665219068527222f)) * square +
      f32x16(-2.000000238418579f);
  const f32x16 radius = square_root(f32x16(-0.693147180559945f) * exponent + series * ratio);

  const u32x16 doubled = angle_word + angle_word;
  const f32x16 fraction =
      as_float(and_or(shift_right<7>(angle_word), splat(0x007FFFFCu), splat(0x3F800002u)));
  const f32x16 t = xor_and(fraction - f32x16(1.5f), doubled, sign);
  const f32x16 t2 = t * t;
  const f32x16 s =
      t * (((f32x16(-0.0045930929481983185f) * t2 + f32x16(0.07967628538608551f)) * t2 +
            f32x16(-0.6459630131721497f)) *
               t2 +
           f32x16(1.570796251296997f));
  const f32x16 c = ((f32x16(-0.020408352836966515f) * t2 + f32x16(0.2535986304283142f)) * t2 +
                    f32x16(-1.2336970567703247f)) *
                       t2 +
                   f32x16(1.0f);
  cosine = xor_and(radius * (c - s), angle_word ^ doubled, sign);
  sine = xor_and(radius * (c + s), angle_word, sign);
}

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
// read-ahead misses; nothing for steps that run along one row.
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
