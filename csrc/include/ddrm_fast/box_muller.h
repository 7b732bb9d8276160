// Two standard normals from two random words (Box, Muller 1958), written once for scalars and for
// vectors of lanes. F is float or a vector of lanes; U holds as many 32-bit words, and the
// functions below that are given for scalars are found by their arguments. Sums, products, a
// division and a square root, each rounded on its own: every backend that uses this draws the same
// bits.
#pragma once

#include "affine.h"

namespace ddrm_fast {

DDRM_HD uint32_t as_bits(float a) {
  uint32_t bits;
  __builtin_memcpy(&bits, &a, sizeof(bits));
  return bits;
}

DDRM_HD float as_float(uint32_t bits) {
  float a;
  __builtin_memcpy(&a, &bits, sizeof(a));
  return a;
}

template <int kBits>
DDRM_HD uint32_t shift_right(uint32_t a) {
  return a >> kBits;
}

// Arithmetic shift: keeps the sign.
template <int kBits>
DDRM_HD uint32_t shift_right_signed(uint32_t a) {
  return static_cast<uint32_t>(static_cast<int32_t>(a) >> kBits);
}

// (a & mask) | set
DDRM_HD uint32_t and_or(uint32_t a, uint32_t mask, uint32_t set) { return (a & mask) | set; }

// a ^ (b & mask)
DDRM_HD float xor_and(float a, uint32_t b, uint32_t mask) {
  return as_float(as_bits(a) ^ (b & mask));
}

// A word as a signed integer, converted.
DDRM_HD float to_float(uint32_t a) { return static_cast<float>(static_cast<int32_t>(a)); }

// -ln u = -(e ln 2 + 2 atanh((m - 1) / (m + 1))) with u = 2^e m and m in [sqrt(1/2), sqrt(2)); the
// polynomials are least-maximum fits on the reduced ranges.
//
// The angle 2 pi u is pi/4 (2 q + 1) + pi/2 t with q the top two bits and t in (-1/2, 1/2). With
// C = cos(pi/2 t), S = sin(pi/2 t) of t (negated in odd quadrants), cos and sin of the angle are
// sqrt(1/2) (C - S) and sqrt(1/2) (C + S) up to signs that are bits of the word, and the factor
// turns sqrt(-2 ln u) into sqrt(-ln u).
template <class U, class F>
DDRM_HD void box_muller(U radius_word, U angle_word, F& cosine, F& sine) {
  const U one(0x3F800000u), sign(0x80000000u);

  const F u = as_float(shift_right<9>(radius_word) | one) - F(0x1.fffffep-1f);
  const U offset = as_bits(u) - U(0x3F3504F3u);
  const F exponent = to_float(shift_right_signed<23>(offset));
  const F mantissa = as_float(as_bits(u) - (offset & U(0xFF800000u)));
  const F ratio = (mantissa - F(1.0f)) / (mantissa + F(1.0f));
  const F square = ratio * ratio;
  const F series = (F(-0.41297468543052673f) * square + F(-0.6665219068527222f)) * square +
                   F(-2.000000238418579f);
  const F radius = square_root(F(-0.693147180559945f) * exponent + series * ratio);

  const U doubled = angle_word + angle_word;
  const F fraction = as_float(and_or(shift_right<7>(angle_word), U(0x007FFFFCu), U(0x3F800002u)));
  const F t = xor_and(fraction - F(1.5f), doubled, sign);
  const F t2 = t * t;
  const F s = t * (((F(-0.0045930929481983185f) * t2 + F(0.07967628538608551f)) * t2 +
                    F(-0.6459630131721497f)) *
                       t2 +
                   F(1.570796251296997f));
  const F c =
      ((F(-0.020408352836966515f) * t2 + F(0.2535986304283142f)) * t2 + F(-1.2336970567703247f)) *
          t2 +
      F(1.0f);
  cosine = xor_and(radius * (c - s), angle_word ^ doubled, sign);
  sine = xor_and(radius * (c + s), angle_word, sign);
}

}  // namespace ddrm_fast
