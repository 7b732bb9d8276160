#include "launch.h"
#include "step_common.h"

namespace ddrm_fast::cuda {
namespace {

// Where the mask is 1: x_next = (a image + b eps) + d z, for n pixels of row h from column w on.
template <Access kAccess>
__device__ __forceinline__ void update(const StepArguments& a, const MaskField& mask, int64_t b,
                                       int64_t c, int64_t h, int64_t w, int n) {
  const uint8_t* known = row_of(mask, b, c, h) + w;
  bool here[4], any = false;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    here[i] = i < n && known[i] != 0;
    any = any || here[i];
  }
  if (!any) return;
  const Extent& e = a.extent;
  const int64_t plane = (b * e.channels + c) * e.height * e.width;
  const int64_t at = h * e.width + w;
  const StepInputs inputs = load_inputs<kAccess>(a, b, c, plane, at, n);
  const Quad image = load_field<kAccess>(row_of(a.u, b, c, h), a.u.stride[3], w, n);
  Quad x = load_quad<kAccess>(a.x_next + plane + at, n);
  const Row* row = row_of_image(a.table, b);
  if (row == nullptr) return store_quad<kAccess>(a.x_next + plane + at, nan_quad(), n);

  const bool noisy = row->null_d != 0.0f;
  Quad z{};
  if (noisy) z = step_noise<kAccess>(a, b, c, h, w, plane, n);
  // The network's own eps, not one derived from a clipped x0.
  const QuadPrediction p = predict_inputs(a, *row, false, inputs);
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    if (!here[i]) continue;
    x.v[i] = row->null_a * image.v[i] + row->null_b * p.eps.v[i];
    if (noisy) x.v[i] = x.v[i] + row->null_d * z.v[i];
  }
  store_quad<kAccess>(a.x_next + plane + at, x, n);
}

// A thread for four pixels next to each other in a row; those without a known pixel read the mask
// alone.
template <Access kAccess>
__global__ void __launch_bounds__(kThreads) known_step_kernel(StepArguments a, MaskField mask) {
  const Extent& e = a.extent;
  const Split place = split(thread_index(), (e.width + 3) / 4);
  const int64_t h = place.quotient, w = 4 * place.remainder;
  if (h >= e.height) return;
  const int n = kAccess != Access::kWide && e.width - w < 4 ? static_cast<int>(e.width - w) : 4;
  for (int64_t plane = blockIdx.y; plane < e.batch * e.channels; plane += gridDim.y) {
    const PlaneIndex index = plane_index(plane, e.channels);
    update<kAccess>(a, mask, index.b, index.c, h, w, n);
  }
}

}  // namespace

// Known pixels of a new state, in place: where the mask is 1,
//   x_next = a image + b eps + d z
// with the null branch's weights and the noise of the pixel. x_next, x_t, z (B, C, H, W); image (B
// or 1, C, H, W); mask (B or 1, C or 1, H, W). Moves a byte a pixel, and 4 for each of x_t, out,
// image and x_next (read and written) where one is known.
void known_step(const StepArguments& a, const MaskField& mask, const Place& place) {
  const Extent& e = a.extent;
  const LaunchShape shape = over_planes(e.height * ((e.width + 3) / 4), e.batch * e.channels);
  if (wide_planes(a) && wide_field(a.u)) {
    launch("known_step", known_step_kernel<Access::kWide>, shape, place, a, mask);
  } else {
    launch("known_step", known_step_kernel<Access::kChecked>, shape, place, a, mask);
  }
}

}  // namespace ddrm_fast::cuda
