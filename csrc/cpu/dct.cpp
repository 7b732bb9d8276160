#include "ddrm_fast/dct.h"

#include "kernels.h"
#include "tasks.h"

namespace ddrm_fast::DDRM_FAST_ISA {
namespace {

void fold_row(float* __restrict to, const float* __restrict from, int64_t width) {
  for (int64_t i = 0; i < (width + 1) / 2; ++i) to[i] = from[2 * i];
  for (int64_t i = 0; i < width / 2; ++i) to[width - 1 - i] = from[2 * i + 1];
}

void unfold_row(float* __restrict to, const float* __restrict from, int64_t width) {
  for (int64_t i = 0; i < width / 2; ++i) {
    to[2 * i] = from[i];
    to[2 * i + 1] = from[width - 1 - i];
  }
  if (width % 2 != 0) to[width - 1] = from[width / 2];
}

DDRM_INLINE Complex complex_at(const float* p, int64_t i) { return {p[2 * i], p[2 * i + 1]}; }

DDRM_INLINE void put(float* p, int64_t i, Complex z) {
  p[2 * i] = z.re;
  p[2 * i + 1] = z.im;
}

// Rows k and H - k of coefficients (near, below) and of the spectrum (v, mirror) at column l; the
// second ones may be the first.
// kRow, kColumn: H - k and W - l exist and differ from k and l.
template <bool kRow, bool kColumn>
DDRM_INLINE void twist_at(float* __restrict near, float* __restrict below,
                          const float* __restrict v, const float* __restrict mirror, Complex t_k,
                          const float* __restrict t, int64_t width, int64_t l) {
  const DctCorner c = twist(t_k, complex_at(t, l), {complex_at(v, l), complex_at(mirror, l)});
  near[l] = c.near;
  if (kColumn) near[width - l] = c.across;
  if (kRow) below[l] = c.below;
  if (kRow && kColumn) below[width - l] = c.opposite;
}

template <bool kRow>
void twist_row(float* __restrict near, float* __restrict below, const float* __restrict v,
               const float* __restrict mirror, Complex t_k, const float* __restrict t,
               int64_t width) {
  twist_at<kRow, false>(near, below, v, mirror, t_k, t, width, 0);
  for (int64_t l = 1; l < (width + 1) / 2; ++l) {
    twist_at<kRow, true>(near, below, v, mirror, t_k, t, width, l);
  }
  if (width % 2 == 0) twist_at<kRow, false>(near, below, v, mirror, t_k, t, width, width / 2);
}

template <bool kRow>
void untwist_row(float* __restrict v, float* __restrict mirror, const float* __restrict near,
                 const float* __restrict below, float below_is, Complex t_k,
                 const float* __restrict t, int64_t width) {
  const auto at = [&](int64_t l, float across, float opposite) __attribute__((always_inline)) {
    const DctPair pair =
        untwist(t_k, complex_at(t, l), {near[l], across, below_is * below[l], below_is * opposite});
    put(v, l, pair.v);
    if (kRow) put(mirror, l, pair.mirror);
  };
  at(0, 0.0f, 0.0f);
  for (int64_t l = 1; l <= width / 2; ++l) at(l, near[width - l], below[width - l]);
}

// A row of coefficients into the order of groups of r, and back.
void group_row(float* __restrict to, const float* __restrict from, int64_t width, int64_t r) {
  const int64_t small = width / r;
  for (int64_t block = 0; block < r; ++block, from += small) {
    to[block] = from[0];
    if (block % 2 == 0) {
      for (int64_t g = 1; g < small; ++g) to[g * r + block] = from[g];
    } else {
      for (int64_t g = 1; g < small; ++g) to[g * r + block] = from[small - g];
    }
  }
}

void ungroup_row(float* __restrict to, const float* __restrict from, int64_t width, int64_t r) {
  const int64_t small = width / r;
  for (int64_t block = 0; block < r; ++block, to += small) {
    to[0] = from[block];
    if (block % 2 == 0) {
      for (int64_t g = 1; g < small; ++g) to[g] = from[g * r + block];
    } else {
      for (int64_t g = 1; g < small; ++g) to[small - g] = from[g * r + block];
    }
  }
}

// Bands of rows k = 0 .. H / 2 of every plane: function(plane, k).
template <class Function>
void for_corners(const DctExtent& e, int threads, const Function& function) {
  const Extent bands{e.planes, 1, e.height / 2 + 1, 2 * e.width};
  for_bands(bands, threads, [&](int64_t plane, int64_t, int64_t first, int64_t end) {
    for (int64_t k = first; k < end; ++k) function(plane, k);
  });
}

}  // namespace

// Samples into the order of ddrm_fast/dct.h, and back.
void dct_fold(float* to, const float* from, const DctExtent& e, int threads) {
  const Extent bands{e.planes, 1, e.height, e.width};
  for_bands(bands, threads, [&](int64_t plane, int64_t, int64_t first, int64_t end) {
    for (int64_t h = first; h < end; ++h) {
      fold_row(to + (plane * e.height + folded(h, e.height)) * e.width,
               from + (plane * e.height + h) * e.width, e.width);
    }
  });
}

void dct_unfold(float* to, const float* from, const DctExtent& e, int threads) {
  const Extent bands{e.planes, 1, e.height, e.width};
  for_bands(bands, threads, [&](int64_t plane, int64_t, int64_t first, int64_t end) {
    for (int64_t h = first; h < end; ++h) {
      unfold_row(to + (plane * e.height + h) * e.width,
                 from + (plane * e.height + folded(h, e.height)) * e.width, e.width);
    }
  });
}

// Coefficients from the half spectrum of the folded samples, and back: one pass each.
void dct_twist(float* y, const float* spectrum, const DctTwiddles& t, const DctExtent& e,
               int threads) {
  const int64_t half = e.width / 2 + 1;
  for_corners(e, threads, [&](int64_t plane, int64_t k) {
    const int64_t other = k == 0 ? 0 : e.height - k;
    float* c = y + plane * e.height * e.width;
    const float* v = spectrum + 2 * plane * e.height * half;
    float* near = c + grouped(k, e.height, e.factor) * e.width;
    float* below = c + grouped(other, e.height, e.factor) * e.width;
    float* scratch = e.factor == 1 ? nullptr : thread_scratch(2 * e.width);
    const auto row = other != k ? twist_row<true> : twist_row<false>;
    row(scratch == nullptr ? near : scratch, scratch == nullptr ? below : scratch + e.width,
        v + 2 * k * half, v + 2 * other * half, complex_at(t.vertical, k), t.horizontal, e.width);
    if (scratch == nullptr) return;
    group_row(near, scratch, e.width, e.factor);
    if (other != k) group_row(below, scratch + e.width, e.width, e.factor);
  });
}

void dct_untwist(float* spectrum, const float* y, const DctTwiddles& t, const DctExtent& e,
                 int threads) {
  const int64_t half = e.width / 2 + 1;
  for_corners(e, threads, [&](int64_t plane, int64_t k) {
    const int64_t other = k == 0 ? 0 : e.height - k;
    const float* c = y + plane * e.height * e.width;
    float* v = spectrum + 2 * plane * e.height * half;
    const float* near = c + grouped(k, e.height, e.factor) * e.width;
    const float* below = c + grouped(other, e.height, e.factor) * e.width;
    if (e.factor != 1) {
      float* scratch = thread_scratch(2 * e.width);
      ungroup_row(scratch, near, e.width, e.factor);
      ungroup_row(scratch + e.width, below, e.width, e.factor);
      near = scratch;
      below = scratch + e.width;
    }
    const auto row = other != k ? untwist_row<true> : untwist_row<false>;
    row(v + 2 * k * half, v + 2 * other * half, near, below, k == 0 ? 0.0f : 1.0f,
        complex_at(t.vertical, k), t.horizontal, e.width);
  });
}

}  // namespace ddrm_fast::DDRM_FAST_ISA
