#include "index.h"
#include "launch.h"
#include "spectral_common.h"

namespace ddrm_fast::cuda {
namespace {

// Place of sample i of n in the order even ones forwards, odd ones backwards: 0 2 4 ... 5 3 1.
__device__ __forceinline__ int64_t folded(int64_t i, int64_t n) {
  return i % 2 == 0 ? i / 2 : n - (i + 1) / 2;
}

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

// The four coefficients (k, l), (k, W - l), (H - k, l), (H - k, W - l) and what they are made of,
//   P = t_k t_l V(k, l) and Q = conj(t_k) t_l V(-k, l) with t = scale exp(-i pi k / 2N).
struct Corner {
  int64_t k, l;
  bool row, column;  // whether H - k and W - l exist and differ from k and l

  __device__ __forceinline__ Corner(const DctExtent& e, int64_t k_, int64_t l_)
      : k(k_), l(l_), row(k_ != 0 && 2 * k_ != e.height), column(l_ != 0 && 2 * l_ != e.width) {}
};

__device__ __forceinline__ Complex times(Complex a, Complex b) {
  return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
}
__device__ __forceinline__ Complex conjugated(Complex a) { return {a.re, -a.im}; }

// A thread for V(k, l) and V(-k, l) of the half spectrum, k up to H / 2.
__global__ void __launch_bounds__(kThreads)
    dct_twist_kernel(float* y, const float* spectrum, DctTwiddles t, DctExtent e) {
  const int64_t half = e.width / 2 + 1;
  const Split place = split(thread_index(), half);
  if (place.quotient > e.height / 2) return;
  const Corner at(e, place.quotient, place.remainder);
  const Complex t_k = load_complex(t.vertical + 2 * at.k);
  const Complex t_l = load_complex(t.horizontal + 2 * at.l);
  const int64_t mirror = at.k == 0 ? 0 : e.height - at.k;
  for (int64_t plane = blockIdx.y; plane < e.planes; plane += gridDim.y) {
    const float* v = spectrum + 2 * plane * e.height * half;
    const Complex p = times(times(t_k, t_l), load_complex(v + 2 * (at.k * half + at.l)));
    const Complex q =
        times(times(conjugated(t_k), t_l), load_complex(v + 2 * (mirror * half + at.l)));
    float* c = y + plane * e.height * e.width;
    const int64_t row = at.k * e.width, other = mirror * e.width;
    c[row + at.l] = 0.5f * (q.re + p.re);
    if (at.column) c[row + e.width - at.l] = -0.5f * (q.im + p.im);
    if (at.row) c[other + at.l] = 0.5f * (q.im - p.im);
    if (at.row && at.column) c[other + e.width - at.l] = 0.5f * (q.re - p.re);
  }
}

// The way back: here t = exp(i pi k / 2N) / scale.
__global__ void __launch_bounds__(kThreads)
    dct_untwist_kernel(float* spectrum, const float* y, DctTwiddles t, DctExtent e) {
  const int64_t half = e.width / 2 + 1;
  const Split place = split(thread_index(), half);
  if (place.quotient > e.height / 2) return;
  const Corner at(e, place.quotient, place.remainder);
  const Complex t_k = load_complex(t.vertical + 2 * at.k);
  const Complex t_l = load_complex(t.horizontal + 2 * at.l);
  const int64_t mirror = at.k == 0 ? 0 : e.height - at.k;
  for (int64_t plane = blockIdx.y; plane < e.planes; plane += gridDim.y) {
    const float* c = y + plane * e.height * e.width;
    // where k = H - k or l = W - l the coefficient stands for both; where there is none it is 0
    const int64_t row = at.k * e.width, other = mirror * e.width, column = e.width - at.l;
    const float c1 = c[row + at.l];
    const float c2 = at.l != 0 ? c[row + column] : 0.0f;
    const float c3 = at.k != 0 ? c[other + at.l] : 0.0f;
    const float c4 = at.k != 0 && at.l != 0 ? c[other + column] : 0.0f;
    const Complex p = {c1 - c4, -(c2 + c3)}, q = {c1 + c4, c3 - c2};
    float* v = spectrum + 2 * plane * e.height * half;
    store_complex(v + 2 * (at.k * half + at.l), times(times(t_k, t_l), p));
    if (!at.row) continue;
    // 1 / scale twice, and once of it with the other sign of the angle
    store_complex(v + 2 * (mirror * half + at.l), times(times(conjugated(t_k), t_l), q));
  }
}

LaunchShape over_corners(const DctExtent& e) {
  return over_planes((e.height / 2 + 1) * (e.width / 2 + 1), e.planes);
}

LaunchShape over_quads(const DctExtent& e) {
  return over_planes(e.height * ((e.width + 3) / 4), e.planes);
}

}  // namespace

// Orthonormal DCT-II of planes through one real FFT of the same size (Makhoul, "A fast cosine
// transform in one and two dimensions", 1980). dct_fold puts the samples of both axes into the
// order 0 2 4 ... 5 3 1; with V the half spectrum of that and t_k = scale_k exp(-i pi k / 2N),
//   P = t_k t_l V(k, l), Q = conj(t_k) t_l V(-k, l):
//   C(k, l) = (Re P + Re Q) / 2             C(k, W - l) = -(Im P + Im Q) / 2
//   C(H - k, l) = (Im Q - Im P) / 2         C(H - k, W - l) = (Re Q - Re P) / 2
// which dct_twist writes. dct_untwist and dct_unfold are the way back. Each is one pass.
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
