#include "launch.h"
#include "step_common.h"

namespace ddrm_fast::cuda {
namespace {

__global__ void __launch_bounds__(kThreads) predict_x0_kernel(PredictArguments a) {
  const Extent& e = a.extent;
  const int64_t pixels = e.height * e.width, at = 4 * thread_index();
  if (at >= pixels) return;
  const int n = pixels - at < 4 ? static_cast<int>(pixels - at) : 4;
  for (int64_t plane = blockIdx.y; plane < e.batch * e.channels; plane += gridDim.y) {
    const PlaneIndex index = plane_index(plane, e.channels);
    const Quad x_t = load_quad(a.x_t + plane * pixels + at, n);
    const Output out = load_output(a.out, index.b, index.c, at, n);
    const Row* row = row_of_image(a.table, index.b);
    Quad x0 = nan_quad();
    if (row != nullptr) x0 = predict_quad(*row, clips(*row), x_t, to_float(out, a.out.type)).x0;
    store_quad(a.x0 + plane * pixels + at, x0, n);
  }
}

}  // namespace

// x0 = clip(p_x x_t + p_out out), (B, C, H, W). Three streams.
void predict_x0(const PredictArguments& a, const Place& place) {
  const Extent& e = a.extent;
  const LaunchShape shape = over_planes((e.height * e.width + 3) / 4, e.batch * e.channels);
  launch("predict_x0", predict_x0_kernel, shape, place, a);
}

}  // namespace ddrm_fast::cuda
