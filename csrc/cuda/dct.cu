#include "index.h"
#include "launch.h"
#include "spectral_common.h"

namespace ddrm_fast::cuda {
namespace {

// A thread for four samples of a row of x.
template <bool kFold>
__global__ void __launch_bounds__(kThreads)
    dct_fold_kernel(float* to, const float* from, DctExtent e) {
  const Split place = split(thread_index(), (e.width + 3) / 4);
  const int64_t h = place.quotient, w = 4 * place.remainder;
  if (h >= e.height) return;
  const int n = e.width - w < 4 ? static_cast<int>(e.width - w) : 4;
  for (int64_t plane = blockIdx.y; plane < e.planes; plane += gridDim.y) {
    const int64_t row = (plane * e.height + h) * e.width;
    const int64_t folded_row = (plane * e.height + folded(h, e.height)) * e.width;
    if (kFold) {
      const Quad x = load_quad(from + row + w, n);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        if (i < n) to[folded_row + folded(w + i, e.width)] = x.v[i];
      }
    } else {
      Quad x{};
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        if (i < n) x.v[i] = from[folded_row + folded(w + i, e.width)];
      }
      store_quad(to + row + w, x, n);
    }
  }
}

// Rows k and H - k and column l of the spectrum, where the four coefficients of k and l stand, and
// whether H - k and W - l exist and differ from k and l.
struct CornerIndex {
  int64_t row, other, column, near, below, left, right;
  bool has_other, has_mirror;

  __device__ __forceinline__ CornerIndex(const DctExtent& e, int64_t k, int64_t l)
      : row(k),
        other(k == 0 ? 0 : e.height - k),
        column(l),
        near(grouped(row, e.height, e.factor)),
        below(grouped(other, e.height, e.factor)),
        left(grouped(l, e.width, e.factor)),
        right(l == 0 ? 0 : grouped(e.width - l, e.width, e.factor)),
        has_other(k != 0 && 2 * k != e.height),
        has_mirror(l != 0 && 2 * l != e.width) {}
};

// A thread for V(k, l) and V(-k, l) of the half spectrum, k up to H / 2.
__global__ void __launch_bounds__(kThreads)
    dct_twist_kernel(float* y, const float* spectrum, DctTwiddles t, DctExtent e) {
  const int64_t half = e.width / 2 + 1;
  const Split place = split(thread_index(), half);
  if (place.quotient > e.height / 2) return;
  const CornerIndex at(e, place.quotient, place.remainder);
  const Complex t_k = load_complex(t.vertical + 2 * at.row);
  const Complex t_l = load_complex(t.horizontal + 2 * at.column);
  for (int64_t plane = blockIdx.y; plane < e.planes; plane += gridDim.y) {
    const float* v = spectrum + 2 * plane * e.height * half;
    const DctCorner c = twist(t_k, t_l,
                              {load_complex(v + 2 * (at.row * half + at.column)),
                               load_complex(v + 2 * (at.other * half + at.column))});
    float* near = y + (plane * e.height + at.near) * e.width;
    float* below = y + (plane * e.height + at.below) * e.width;
    near[at.left] = c.near;
    if (at.has_mirror) near[at.right] = c.across;
    if (at.has_other) below[at.left] = c.below;
    if (at.has_other && at.has_mirror) below[at.right] = c.opposite;
  }
}

__global__ void __launch_bounds__(kThreads)
    dct_untwist_kernel(float* spectrum, const float* y, DctTwiddles t, DctExtent e) {
  const int64_t half = e.width / 2 + 1;
  const Split place = split(thread_index(), half);
  if (place.quotient > e.height / 2) return;
  const CornerIndex at(e, place.quotient, place.remainder);
  const Complex t_k = load_complex(t.vertical + 2 * at.row);
  const Complex t_l = load_complex(t.horizontal + 2 * at.column);
  for (int64_t plane = blockIdx.y; plane < e.planes; plane += gridDim.y) {
    const float* near = y + (plane * e.height + at.near) * e.width;
    const float* below = y + (plane * e.height + at.below) * e.width;
    DctCorner c{near[at.left], 0.0f, 0.0f, 0.0f};
    if (at.column != 0) c.across = near[at.right];
    if (at.row != 0) c.below = below[at.left];
    if (at.row != 0 && at.column != 0) c.opposite = below[at.right];
    const DctPair pair = untwist(t_k, t_l, c);
    float* v = spectrum + 2 * plane * e.height * half;
    store_complex(v + 2 * (at.row * half + at.column), pair.v);
    if (at.has_other) store_complex(v + 2 * (at.other * half + at.column), pair.mirror);
  }
}

LaunchShape over_corners(const DctExtent& e) {
  return over_planes((e.height / 2 + 1) * (e.width / 2 + 1), e.planes);
}

LaunchShape over_quads(const DctExtent& e) {
  return over_planes(e.height * ((e.width + 3) / 4), e.planes);
}

}  // namespace

// The passes around the FFT of ddrm_fast/dct.h: dct_fold and dct_twist are the way there,
// dct_untwist and dct_unfold the way back. Each reads and writes a plane once.
void dct_fold(float* to, const float* from, const DctExtent& e, const Place& place) {
  launch("dct_fold", dct_fold_kernel<true>, over_quads(e), place, to, from, e);
}

void dct_unfold(float* to, const float* from, const DctExtent& e, const Place& place) {
  launch("dct_unfold", dct_fold_kernel<false>, over_quads(e), place, to, from, e);
}

void dct_twist(float* y, const float* spectrum, const DctTwiddles& t, const DctExtent& e,
               const Place& place) {
  launch("dct_twist", dct_twist_kernel, over_corners(e), place, y, spectrum, t, e);
}

void dct_untwist(float* spectrum, const float* y, const DctTwiddles& t, const DctExtent& e,
                 const Place& place) {
  launch("dct_untwist", dct_untwist_kernel, over_corners(e), place, spectrum, y, t, e);
}

}  // namespace ddrm_fast::cuda
