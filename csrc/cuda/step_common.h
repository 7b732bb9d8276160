// What the steps share: the row, the prediction of x0 and eps, the weights, the noise.
#pragma once

#include "ddrm_fast/affine.h"
#include "index.h"
#include "kernels.h"
#include "noise.h"
#include "quad.h"

namespace ddrm_fast::cuda {

// The row of an image: null for a step outside the table. The host cannot raise an error there
// without waiting for the device, so such a step makes NaN, which no one mistakes for a picture.
__device__ __forceinline__ const Row* row_of_image(const RowTable& table, int64_t b) {
  const int64_t step = *table.step;
  if (step < 0 || step >= table.steps) return nullptr;
  return table.rows + step * table.batch + (table.batch == 1 ? 0 : b);
}

__device__ __forceinline__ Quad nan_quad() {
  const float nan = __builtin_nanf("");
  return {{nan, nan, nan, nan}};
}

struct QuadPrediction {
  Quad x0, eps;
};

// x0 and eps of four coefficients.
__device__ __forceinline__ QuadPrediction predict_quad(const Row& row, bool clip, const Quad& x_t,
                                                       const Quad& out) {
  QuadPrediction result;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const Prediction<float> p = clip ? predict<Predict::kClip>(row, x_t.v[i], out.v[i])
                                     : predict<Predict::kAny>(row, x_t.v[i], out.v[i]);
    result.x0.v[i] = p.x0;
    result.eps.v[i] = p.eps;
  }
  return result;
}

// State and network output of four pixels as they were read. A step reads all that it needs before
// it computes anything, the noise above all: reads then wait for memory together, and beside work.
struct StepInputs {
  Quad x_t;
  Output out;
};

// `at` counts from the plane's beginning; zeros for the initial state.
template <Access kAccess = Access::kChecked>
__device__ __forceinline__ StepInputs load_inputs(const StepArguments& a, int64_t b, int64_t c,
                                                  int64_t plane, int64_t at, int n) {
  if (a.x_t == nullptr) return {};
  return {load_quad<kAccess>(a.x_t + plane + at, n), load_output<kAccess>(a.out, b, c, at, n)};
}

// x0 and eps of four pixels; zeros for the initial state.
__device__ __forceinline__ QuadPrediction predict_inputs(const StepArguments& a, const Row& row,
                                                         bool clip, const StepInputs& inputs) {
  if (a.x_t == nullptr) return {};
  return predict_quad(row, clip, inputs.x_t, to_float(inputs.out, a.out.type));
}

// Whether one evaluation of the weights serves all of n coefficients: their singular values are 0
// or one and the same number, as they are for masks and constants.
template <int kCount>
__device__ __forceinline__ bool one_value(const float (&s)[kCount], float& value) {
  value = 0.0f;
#pragma unroll
  for (int i = 0; i < kCount; ++i) value = greater_of(s[i], value);
  bool same = true;
#pragma unroll
  for (int i = 0; i < kCount; ++i) same = same && (!(s[i] > 0.0f) || s[i] == value);
  return same;
}

__device__ __forceinline__ NoiseRow step_noise_row(const StepArguments& a, int64_t b, int64_t c,
                                                   int64_t h) {
  return noise_row(a.keys[b], a.extent.channels, c, h, noise_iteration_word(*a.table.step, 0));
}

// Whether everything that lies in planes of pixels is reached in whole quads: rows and planes are
// multiples of four numbers and begin at multiples of 16 bytes (8, for a half precision output).
inline bool wide_planes(const StepArguments& a) {
  const NetworkOutput& out = a.out;
  const unsigned output_bytes = out.type == OutputType::kFloat32 ? 16 : 8;
  return a.extent.width % 4 == 0 && (out.batch_stride | out.channel_stride) % 4 == 0 &&
         aligned(out.data, output_bytes) && aligned(a.x_next, 16) && aligned(a.x0, 16) &&
         aligned(a.x_t, 16) && aligned(a.noise, 16);
}

// The same of a field with a row for every row of pixels, or broadcast along it.
inline bool wide_field(const FloatField& field) {
  return field.stride[3] == 0 || aligned(field.data, 16);
}

// Noise of four pixels of row h from column w on, given or made here.
template <Access kAccess = Access::kChecked>
__device__ __forceinline__ Quad step_noise(const StepArguments& a, int64_t b, int64_t c, int64_t h,
                                           int64_t w, int64_t plane, int n) {
  if (a.noise != nullptr) return load_quad<kAccess>(a.noise + plane + h * a.extent.width + w, n);
  const uint32_t column = static_cast<uint32_t>(a.keys[b].origin_w + w);
  return normals(step_noise_row(a, b, c, h), column);
}

// Measurement and singular values of four pixels; zeros where nothing is measured.
struct Measured {
  Quad u, s;
};

template <Access kAccess>
__device__ __forceinline__ Measured load_measured(const StepArguments& a, int64_t b, int64_t c,
                                                  int64_t h, int64_t w, int n) {
  if (a.u.data == nullptr) return {};
  return {load_field<kAccess>(row_of(a.u, b, c, h), a.u.stride[3], w, n),
          load_field<kAccess>(row_of(a.s, b, c, h), a.s.stride[3], w, n)};
}

// x_next = ((a x0 + b eps) + c u) + d z, and without c u where nothing is measured, for n pixels
// from number `at` on, each a group of its own.
template <Access kAccess>
__device__ __forceinline__ void update_quad(const StepArguments& a, const Row& row,
                                            const QuadPrediction& p, const Measured& given,
                                            bool noisy, const Quad& z, int64_t at, int n) {
  if (a.x0 != nullptr) store_quad<kAccess>(a.x0 + at, p.x0, n);
  const Quad &u = given.u, &s = given.s;

  // Masks and constants: one evaluation for four pixels.
  const Weights<float> null = null_weights<float>(row);
  float value;
  const bool once = one_value(s.v, value);
  Weights<float> measured = null;
  if (once && value > 0.0f) measured = measured_weights(row, value);
  Quad x;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const bool here = s.v[i] > 0.0f;
    if (!once && here) measured = measured_weights(row, s.v[i]);
    x.v[i] = select(here, measured.a, null.a) * p.x0.v[i] +
             select(here, measured.b, null.b) * p.eps.v[i];
    if (here) x.v[i] = x.v[i] + measured.c * u.v[i];
    if (noisy) x.v[i] = x.v[i] + select(here, measured.d, null.d) * z.v[i];
  }
  store_quad<kAccess>(a.x_next + at, x, n);
}

}  // namespace ddrm_fast::cuda
