// GELU in its exact form, x Phi(x), and its derivative, for scalars and for vectors of lanes (see
// box_muller.h): sums, products and divisions, each rounded on its own.
#pragma once

#include "box_muller.h"

namespace ddrm_fast {

template <int kBits>
DDRM_HD uint32_t shift_left(uint32_t a) {
  return a << kBits;
}

// erf(x) = x P(x^2) / Q(x^2) up to |x| = 3.92, where it is 1 in float32; a least-maximum fit with a
// relative error of 2e-8 before rounding.
template <class F>
DDRM_HD F error_function(F x) {
  x = lesser_of(greater_of(x, F(-3.92f)), F(3.92f));
  const F t = x * x;
  F p = t * F(0x1.13285ep-19f) + F(0x1.2ab8dcp-12f);
  p = p * t + F(0x1.ed9226p-9f);
  p = p * t + F(0x1.b01e48p-5f);
  p = p * t + F(0x1.85f42ep-3f);
  p = p * t + F(0x1.20dd74p+0f);
  F q = t * F(0x1.3f896p-15f) + F(0x1.30c0f4p-10f);
  q = q * t + F(0x1.ea8364p-7f);
  q = q * t + F(0x1.d3645ep-4f);
  q = q * t + F(0x1.011032p-1f);
  q = q * t + F(1.0f);
  return x * p / q;
}

// e^x for x <= 0: 2^n e^r with |r| <= ln 2 / 2. The sum with 1.5 2^23 rounds to a whole number,
// whose low bits are n. Below -87 it is e^-87.
template <class U, class F>
DDRM_HD F exp_of_negative(F x) {
  x = greater_of(x, F(-87.0f));
  const F shifted = x * F(0x1.715476p+0f) + F(12582912.0f);
  const F n = shifted - F(12582912.0f);
  const F r = (x - n * F(0x1.62e4p-1f)) - n * F(0x1.7f7d1cp-20f);
  F p = r * F(0x1.6a244ep-10f) + F(0x1.1239d4p-7f);
  p = p * r + F(0x1.5558f2p-5f);
  p = p * r + F(0x1.555492p-3f);
  p = p * r + F(0x1.fffffcp-2f);
  p = p * r * r + r + F(1.0f);
  const U bits = as_bits(p) + shift_left<23>(as_bits(shifted));
  return as_float(bits);
}

constexpr float kSqrtHalf = 0x1.6a09e6p-1f;

template <class F>
DDRM_HD F gelu(F x) {
  return F(0.5f) * x * (F(1.0f) + error_function(x * F(kSqrtHalf)));
}

// Phi(x) + x phi(x)
template <class U, class F>
DDRM_HD F gelu_derivative(F x) {
  const F cumulative = F(0.5f) * (F(1.0f) + error_function(x * F(kSqrtHalf)));
  const F density = F(0x1.988454p-2f) * exp_of_negative<U>(F(-0.5f) * x * x);
  return cumulative + x * density;
}

}  // namespace ddrm_fast
