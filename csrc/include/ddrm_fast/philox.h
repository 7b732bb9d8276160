// Philox4x32-10, a counter-based generator: Salmon, Moraes, Dror, Shaw, "Parallel random numbers:
// as easy as 1, 2, 3", SC 2011.
//
// Normal of pixel (h, w) of plane p = sample * C + c, in the coordinates of the whole image:
//   key     = (low, high 32 bits of the seed)
//   counter = (w >> 2, h, p, iteration + (stream << 24)), all modulo 2^32; lane = w & 3
//   u(bits) = (bits >> 9) 2^-23 + 2^-24, an odd multiple of 2^-24: never 0, never 1
//   words (w0, w1) -> sqrt(-2 ln u(w0)) (cos, sin)(2 pi u(w1)) = lanes 0, 1; (w2, w3) -> lanes 2, 3
#pragma once

#include <cstdint>

#include "shapes.h"

namespace ddrm_fast {

constexpr uint32_t kPhiloxM0 = 0xD2511F53u;
constexpr uint32_t kPhiloxM1 = 0xCD9E8D57u;
constexpr uint32_t kPhiloxW0 = 0x9E3779B9u;
constexpr uint32_t kPhiloxW1 = 0xBB67AE85u;
constexpr int kPhiloxRounds = 10;

struct PhiloxWords {
  uint32_t word[4];
};

DDRM_HD uint32_t high_word(uint64_t product) { return static_cast<uint32_t>(product >> 32); }
DDRM_HD uint32_t low_word(uint64_t product) { return static_cast<uint32_t>(product); }

DDRM_HD PhiloxWords philox4x32(PhiloxWords counter, uint32_t k0, uint32_t k1) {
  for (int round = 0; round < kPhiloxRounds; ++round) {
    const uint64_t p0 = static_cast<uint64_t>(kPhiloxM0) * counter.word[0];
    const uint64_t p1 = static_cast<uint64_t>(kPhiloxM1) * counter.word[2];
    counter = {{high_word(p1) ^ counter.word[1] ^ k0, low_word(p1),
                high_word(p0) ^ counter.word[3] ^ k1, low_word(p0)}};
    k0 += kPhiloxW0;
    k1 += kPhiloxW1;
  }
  return counter;
}

DDRM_HD uint32_t noise_iteration_word(int64_t iteration, int64_t stream) {
  return static_cast<uint32_t>(iteration) + (static_cast<uint32_t>(stream) << 24);
}

// One image of a batch: its seed, its number, and the origin of its window in the whole image.
struct NoiseKey {
  int64_t seed, sample, origin_h, origin_w;
};
static_assert(sizeof(NoiseKey) == 4 * sizeof(int64_t), "a row of the int64 [B, 4] key tensor");

}  // namespace ddrm_fast
