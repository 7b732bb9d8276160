// The affine map of a step, written once for scalars and for vectors of lanes:
//
//   x_next = a(s) x0 + b(s) eps + c(s) u + d(s) z
//
// T is float or a vector type with the arithmetic operators and, found by its arguments, the
// functions below that are given for float. The order of operations is part of the contract: all
// instruction sets and all ways to evaluate the weights give the same bits.
#pragma once

#include "row.h"

namespace ddrm_fast {

template <class T>
DDRM_HD T broadcast(float value) {
  return T(value);
}

DDRM_HD bool less(float a, float b) { return a < b; }
DDRM_HD bool differs(float a, float b) { return a != b; }
DDRM_HD float select(bool condition, float yes, float no) { return condition ? yes : no; }
DDRM_HD float greater_of(float a, float b) { return a > b ? a : b; }
DDRM_HD float lesser_of(float a, float b) { return a < b ? a : b; }
DDRM_HD float square_root(float x) { return __builtin_sqrtf(x); }

template <class T>
struct Prediction {
  T x0, eps;
};

// x0 = p_x x_t + p_out out, clipped; eps = q_x x_t + q_out out, derived anew where x0 was clipped.
template <Predict kPredict, class T>
DDRM_HD Prediction<T> predict(const Row& row, T x_t, T out) {
  T x0 = broadcast<T>(row.p_x) * x_t + broadcast<T>(row.p_out) * out;
  T eps = out;
  if (kPredict != Predict::kOutIsEps) {
    eps = broadcast<T>(row.q_x) * x_t + broadcast<T>(row.q_out) * out;
  }
  if (kPredict == Predict::kClip) {
    // NaN passes through.
    const T clipped =
        lesser_of(broadcast<T>(row.clip_hi), greater_of(broadcast<T>(row.clip_lo), x0));
    const T edited = broadcast<T>(row.r_x) * x_t + broadcast<T>(row.r_x0) * clipped;
    eps = select(differs(clipped, x0), edited, eps);
    x0 = clipped;
  }
  return {x0, eps};
}

template <class T>
struct Weights {
  T a, b, c, d;
};

template <class T>
DDRM_HD Weights<T> null_weights(const Row& row) {
  return {broadcast<T>(row.null_a), broadcast<T>(row.null_b), broadcast<T>(0.0f),
          broadcast<T>(row.null_d)};
}

// Weights where s > 0. Lanes with s <= 0 hold numbers without meaning.
template <class T>
DDRM_HD Weights<T> measured_weights(const Row& row, T s) {
  const auto low = less(s, broadcast<T>(row.thr));
  auto pick = [&](float Branch::* member) __attribute__((always_inline)) {
    return select(low, broadcast<T>(row.low.*member), broadcast<T>(row.high.*member));
  };
  const T inverse = broadcast<T>(1.0f) / s;
  const T square = s * s;
  Weights<T> w;
  w.a = pick(&Branch::a0) + s * (pick(&Branch::a1) + s * pick(&Branch::a2));
  w.b = pick(&Branch::b0);
  w.c = (pick(&Branch::c0) + pick(&Branch::c1) * inverse) + pick(&Branch::c2) * s;
  T variance =
      (pick(&Branch::d0) + pick(&Branch::d1) * (inverse * inverse)) + pick(&Branch::d2) * square;
  if (__builtin_expect(row.rational != 0.0f, 0)) {
    const T one = broadcast<T>(1.0f), zero = broadcast<T>(0.0f);
    const T factor = one / (pick(&Branch::p) + pick(&Branch::q) * square);
    auto over = [&](float Branch::* flag, T weight) __attribute__((always_inline)) {
      return select(differs(pick(flag), zero), weight * factor, weight);
    };
    w.a = over(&Branch::over_a, w.a);
    w.b = over(&Branch::over_b, w.b + pick(&Branch::b2) * square);
    w.c = over(&Branch::over_c, w.c);
    variance = over(&Branch::over_d, variance);
  }
  w.d = square_root(greater_of(broadcast<T>(0.0f), variance));
  return w;
}

template <class T>
DDRM_HD Weights<T> select_weights(const Row& row, T s) {
  const auto measured = less(broadcast<T>(0.0f), s);
  const Weights<T> null = null_weights<T>(row), w = measured_weights(row, s);
  return {select(measured, w.a, null.a), select(measured, w.b, null.b),
          select(measured, w.c, null.c), select(measured, w.d, null.d)};
}

}  // namespace ddrm_fast
