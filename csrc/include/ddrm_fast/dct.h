// The orthonormal DCT-II of planes through one real FFT of the same size (Makhoul, "A fast cosine
// transform in one and two dimensions", 1980), but for the FFT: what the passes before and behind
// it do with single numbers.
//
// Samples of both axes are put into the order 0 2 4 ... 5 3 1. With V the half spectrum of that and
// t_k = scale_k exp(-i pi k / 2N),
//   P = t_k t_l V(k, l), Q = conj(t_k) t_l V(-k, l):
//   C(k, l) = (Re P + Re Q) / 2             C(k, W - l) = -(Im P + Im Q) / 2
//   C(H - k, l) = (Im Q - Im P) / 2         C(H - k, W - l) = (Re Q - Re P) / 2
#pragma once

#include <cstdint>

#include "shapes.h"

namespace ddrm_fast {

// Planes of height x width real numbers; half spectra have width / 2 + 1 columns. With a factor r >
// 1 coefficients stand in the order of the groups that alias under decimation by r.
struct DctExtent {
  int64_t planes, height, width, factor;
};

// Complex factors t of both axes, as pairs, for 0 to half the side; for the way back their inverses
// exp(i pi k / 2N) / scale_k.
struct DctTwiddles {
  const float* vertical;
  const float* horizontal;
};

struct Complex {
  float re, im;
};

DDRM_HD Complex times(Complex a, Complex b) {
  return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
}
DDRM_HD Complex conjugated(Complex a) { return {a.re, -a.im}; }

// Place of sample i of n in the order even ones forwards, odd ones backwards: 0 2 4 ... 5 3 1.
DDRM_HD int64_t folded(int64_t i, int64_t n) { return i % 2 == 0 ? i / 2 : n - (i + 1) / 2; }

// Place of coefficient k of n in groups of r: with M = n / r, k = 2 a M +- g is member 2 a or 2 a -
// 1 of group g, and an odd multiple of M belongs to group 0.
DDRM_HD int64_t grouped(int64_t k, int64_t n, int64_t factor) {
  if (factor == 1) return k;
  const int64_t small = n / factor, block = k / small, place = k - block * small;
  const int64_t group = block % 2 == 0 || place == 0 ? place : small - place;
  return group * factor + block;
}

// Coefficients (k, l), (k, W - l), (H - k, l), (H - k, W - l).
struct DctCorner {
  float near, across, below, opposite;
};

// V(k, l) and V(-k, l).
struct DctPair {
  Complex v, mirror;
};

DDRM_HD DctCorner twist(Complex t_k, Complex t_l, DctPair pair) {
  const Complex p = times(times(t_k, t_l), pair.v);
  const Complex q = times(times(conjugated(t_k), t_l), pair.mirror);
  return {0.5f * (q.re + p.re), -0.5f * (q.im + p.im), 0.5f * (q.im - p.im), 0.5f * (q.re - p.re)};
}

// The way back, with inverse factors. Where k = H - k or l = W - l a coefficient stands for both;
// where there is none (H or W) it is 0.
DDRM_HD DctPair untwist(Complex t_k, Complex t_l, DctCorner c) {
  const Complex p = {c.near - c.opposite, -(c.across + c.below)};
  const Complex q = {c.near + c.opposite, c.below - c.across};
  return {times(times(t_k, t_l), p), times(times(conjugated(t_k), t_l), q)};
}

}  // namespace ddrm_fast
