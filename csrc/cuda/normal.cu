#include "index.h"
#include "launch.h"
#include "noise.h"

namespace ddrm_fast::cuda {
namespace {

__global__ void __launch_bounds__(kThreads) normal_kernel(NormalArguments a) {
  const Extent& e = a.extent;
  const Split place = split(thread_index(), (e.width + 3) / 4);
  const int64_t h = place.quotient, w = 4 * place.remainder;
  if (h >= e.height) return;
  const int n = e.width - w < 4 ? static_cast<int>(e.width - w) : 4;
  const uint32_t iteration = noise_iteration_word(a.iteration, a.stream);
  for (int64_t plane = blockIdx.y; plane < e.batch * e.channels; plane += gridDim.y) {
    const PlaneIndex index = plane_index(plane, e.channels);
    const NoiseKey& key = a.keys[index.b];
    const NoiseRow row = noise_row(key, e.channels, index.c, h, iteration);
    const Quad z = normals(row, static_cast<uint32_t>(key.origin_w + w));
    store_quad(a.z + (plane * e.height + h) * e.width + w, z, n);
  }
}

}  // namespace

// z (B, C, H, W): white noise, see ddrm_fast/philox.h. Writes 4 bytes a pixel.
void normal(const NormalArguments& a, const Place& place) {
  const Extent& e = a.extent;
  const LaunchShape shape = over_planes(e.height * ((e.width + 3) / 4), e.batch * e.channels);
  launch("normal", normal_kernel, shape, place, a);
}

}  // namespace ddrm_fast::cuda
