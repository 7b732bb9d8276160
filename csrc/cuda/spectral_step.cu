#include "launch.h"
#include "spectral_common.h"

namespace ddrm_fast::cuda {
namespace {

// Hermitian noise of coefficients k and k + 1, k even: one counter where the window begins at a
// multiple of four columns.
__device__ __forceinline__ Quad noise_of_pair(const StepArguments& a, int64_t width, int64_t b,
                                              int64_t c, int64_t h, int64_t k, int n) {
  Quad z;
  if (own_mirror(k, width) || own_mirror(k + 1, width)) {
    const Complex first = hermitian_normal(a, width, b, c, h, k);
    Complex second{};
    if (n == 4) second = hermitian_normal(a, width, b, c, h, k + 1);
    z = {{first.re, first.im, second.re, second.im}};
  } else {
    z = normals(step_noise_row(a, b, c, h), static_cast<uint32_t>(a.keys[b].origin_w + 2 * k));
#pragma unroll
    for (int i = 0; i < 4; ++i) z.v[i] = z.v[i] * kRootHalf;
  }
  return z;
}

// What is read and written in whole spectra, at one place: all or none of it is aligned.
__device__ __forceinline__ bool spectra_aligned(const StepArguments& a, int64_t at, const float* u,
                                                unsigned bytes) {
  const float* out = static_cast<const float*>(a.out.data);
  return aligned(a.x_next + at, bytes) && aligned(u, bytes) &&
         (a.x_t == nullptr || (aligned(a.x_t + at, bytes) && aligned(out + at, bytes))) &&
         (a.noise == nullptr || aligned(a.noise + at, bytes));
}

// Coefficients k and k + 1 of row h, n = 4 numbers, or the last one of a row alone, n = 2.
template <Access kAccess>
__device__ __forceinline__ void update(const StepArguments& a, int64_t width, int64_t b, int64_t c,
                                       int64_t h, int64_t k, int n) {
  const Extent& e = a.extent;
  const int64_t at = 2 * (((b * e.channels + c) * e.height + h) * e.width + k);
  // All reads before the first use of one, as in every step.
  Quad x_t{}, out{}, u{};
  if (a.x_t != nullptr) {
    x_t = load_quad<kAccess>(a.x_t + at, n);
    out = load_quad<kAccess>(static_cast<const float*>(a.out.data) + at, n);
  }
  float s[2] = {0.0f, 0.0f};
  if (a.u.data != nullptr) {
    u = load_quad<kAccess>(row_of(a.u, b, c, h) + 2 * k, n);
    const float* values = row_of(a.s, b, c, h) + k * a.s.stride[3];
    s[0] = values[0];
    s[1] = n == 4 ? values[a.s.stride[3]] : values[0];
  }
  const Row* row = row_of_image(a.table, b);
  if (row == nullptr) return store_quad<kAccess>(a.x_next + at, nan_quad(), n);
  const bool noisy = draws_noise(*row);
  Quad z{};
  if (noisy) {
    z = a.noise != nullptr ? load_quad<kAccess>(a.noise + at, n)
                           : noise_of_pair(a, width, b, c, h, k, n);
  }
  QuadPrediction p{};
  if (a.x_t != nullptr) p = predict_quad(*row, false, x_t, out);

  const Weights<float> null = null_weights<float>(*row);
  Weights<float> first = null, second = null;
  if (s[0] > 0.0f) first = measured_weights(*row, s[0]);
  if (s[1] > 0.0f) second = s[1] == s[0] ? first : measured_weights(*row, s[1]);
  Quad x;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const Weights<float>& w = i < 2 ? first : second;
    x.v[i] = w.a * p.x0.v[i] + w.b * p.eps.v[i];
    if (s[i / 2] > 0.0f) x.v[i] = x.v[i] + w.c * u.v[i];
    if (noisy) x.v[i] = x.v[i] + w.d * z.v[i];
  }
  store_quad<kAccess>(a.x_next + at, x, n);
}

// A thread for two coefficients next to each other in a row.
__global__ void __launch_bounds__(kThreads) spectral_step_kernel(StepArguments a, int64_t width) {
  const Extent& e = a.extent;
  const Split place = split(thread_index(), (e.width + 1) / 2);
  const int64_t h = place.quotient, k = 2 * place.remainder;
  if (h >= e.height) return;
  const int n = k + 1 < e.width ? 4 : 2;
  for (int64_t plane = blockIdx.y; plane < e.batch * e.channels; plane += gridDim.y) {
    const PlaneIndex index = plane_index(plane, e.channels);
    // Where the width is a multiple of four, rows have an odd number of coefficients, and each
    // second one begins at a multiple of 8 bytes only. The choice is the same along a row.
    const int64_t at = 2 * ((plane * e.height + h) * e.width + k);
    const float* u = a.u.data == nullptr ? nullptr : row_of(a.u, index.b, index.c, h) + 2 * k;
    if (n == 4 && spectra_aligned(a, at, u, 16)) {
      update<Access::kWide>(a, width, index.b, index.c, h, k, n);
    } else if (n == 4 && spectra_aligned(a, at, u, 8)) {
      update<Access::kPairs>(a, width, index.b, index.c, h, k, n);
    } else {
      update<Access::kChecked>(a, width, index.b, index.c, h, k, n);
    }
  }
}

}  // namespace

// One affine step on half spectra, with Hermitian noise Z:
//   X_next = a(s) X0 + b(s) EPS + c(s) U + d(s) Z
// X (B, C, H, width / 2 + 1) complex64; U the same or batch 1; s real, each dimension full or 1.
// Moves 8 bytes a coefficient for each of x_t, out, u and x_next, and s.
void spectral_step(const StepArguments& a, int64_t width, const Place& place) {
  const Extent& e = a.extent;
  const LaunchShape shape = over_planes(e.height * ((e.width + 1) / 2), e.batch * e.channels);
  launch("spectral_step", spectral_step_kernel, shape, place, a, width);
}

}  // namespace ddrm_fast::cuda
