// One row of the table [rows, B or 1, 48]: what a step knows about the sampler. The order of the
// members is the order of the columns; ddrm_fast/ops/rows.py names the same indices.
#pragma once

#include "shapes.h"

namespace ddrm_fast {

// Weights on one branch, as functions of the singular value s:
//   a = a0 + a1 s + a2 s^2   b = b0 + b2 s^2   c = c0 + c1/s + c2 s
//   d = sqrt(max(0, d0 + d1/s^2 + d2 s^2))
// where each of a, b, c and d^2 stands over p + q s^2 if its flag is not 0.
struct Branch {
  float a0, a1, a2, b0, c0, c1, c2, d0, d1, d2;
  float b2, p, q, over_a, over_b, over_c, over_d;
};

struct Row {
  float p_x, p_out;              // x0 = p_x x_t + p_out out
  float q_x, q_out;              // eps = q_x x_t + q_out out
  float r_x, r_x0;               // eps = r_x x_t + r_x0 x0, after an edit of x0
  float clip_lo, clip_hi;        // range of x0; -inf and inf: no clipping
  float thr;                     // low: s < thr; high: s >= thr
  float root_abar_next;          // sqrt(abar_next)
  float null_a, null_b, null_d;  // s <= 0
  float rational;                // 0: b2 and the flags of both branches are 0
  Branch low, high;
};

constexpr int kRowWidth = 48;
static_assert(sizeof(Row) == kRowWidth * sizeof(float), "a row is its 48 columns");

DDRM_HD bool clips(const Row& row) {
  return !(row.clip_lo == -__builtin_inff() && row.clip_hi == __builtin_inff());
}

// How x0 and eps follow from x_t and the network's output.
enum class Predict {
  kAny,       // both by multiplication
  kOutIsEps,  // the output is eps, as it is with most networks
  kClip,      // x0 is clipped, and eps derived anew where that changed it
};

DDRM_HD Predict predict_of(const Row& row) {
  if (clips(row)) return Predict::kClip;
  return row.q_x == 0.0f && row.q_out == 1.0f ? Predict::kOutIsEps : Predict::kAny;
}

DDRM_HD bool draws_noise(const Row& row) {
  return row.null_d != 0 || row.low.d0 != 0 || row.low.d1 != 0 || row.low.d2 != 0 ||
         row.high.d0 != 0 || row.high.d1 != 0 || row.high.d2 != 0;
}

}  // namespace ddrm_fast
