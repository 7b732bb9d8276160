#include "launch.h"
#include "step_common.h"

namespace ddrm_fast::cuda {
namespace {

// n pixels of row h from column w on.
template <Access kAccess>
__device__ __forceinline__ void update(const StepArguments& a, int64_t b, int64_t c, int64_t h,
                                       int64_t w, int n) {
  const Extent& e = a.extent;
  const int64_t plane = (b * e.channels + c) * e.height * e.width;
  const int64_t at = h * e.width + w;
  const StepInputs inputs = load_inputs<kAccess>(a, b, c, plane, at, n);
  const Measured measured = load_measured<kAccess>(a, b, c, h, w, n);
  const Row* row = row_of_image(a.table, b);
  if (row == nullptr) return store_quad<kAccess>(a.x_next + plane + at, nan_quad(), n);

  const bool noisy = draws_noise(*row);
  Quad z{};
  if (noisy) z = step_noise<kAccess>(a, b, c, h, w, plane, n);
  const QuadPrediction p = predict_inputs(a, *row, clips(*row), inputs);
  update_quad<kAccess>(a, *row, p, measured, noisy, z, plane + at, n);
}

// Seven blocks a multiprocessor with 72 registers a thread: 43 KB of reads on their way.
constexpr unsigned kBlockThreads = 128;

// A thread for four pixels next to each other in a row.
template <Access kAccess>
__global__ void __launch_bounds__(kBlockThreads, kAccess == Access::kWide ? 7 : 6)
    pointwise_step_kernel(const __grid_constant__ StepArguments a) {
  const Extent& e = a.extent;
  const Split place = split(thread_index(), (e.width + 3) / 4);
  const int64_t h = place.quotient, w = 4 * place.remainder;
  if (h >= e.height) return;
  const int n = kAccess != Access::kWide && e.width - w < 4 ? static_cast<int>(e.width - w) : 4;
  for (int64_t plane = blockIdx.y; plane < e.batch * e.channels; plane += gridDim.y) {
    const PlaneIndex index = plane_index(plane, e.channels);
    update<kAccess>(a, index.b, index.c, h, w, n);
  }
}

}  // namespace

// One affine step where every coefficient is a group of its own:
//   x_next = a(s) x0 + b(s) eps + c(s) u + d(s) z
// x_next, x_t, out, z (B, C, H, W); u (B or 1, C, H, W); s: each dimension full or 1.
// Kawar et al., "Denoising Diffusion Restoration Models", 2022, eqs. 7 and 8, for DDRM's weights.
// Moves 4 bytes a pixel for each of x_t, out, u and x_next, and s where it is not broadcast.
void pointwise_step(const StepArguments& a, const Place& place) {
  const Extent& e = a.extent;
  const LaunchShape shape =
      over_planes(e.height * ((e.width + 3) / 4), e.batch * e.channels, kBlockThreads);
  if (wide_planes(a) && wide_field(a.u) && wide_field(a.s)) {
    launch("pointwise_step", pointwise_step_kernel<Access::kWide>, shape, place, a);
  } else {
    launch("pointwise_step", pointwise_step_kernel<Access::kChecked>, shape, place, a);
  }
}

}  // namespace ddrm_fast::cuda
