#include "kernels.h"
#include "noise.h"
#include "tasks.h"

namespace ddrm_fast::DDRM_FAST_ISA {

// z (B, C, H, W): white noise, see ddrm_fast/philox.h.
void normal(const NormalArguments& a) {
  const Extent& extent = a.extent;
  for_bands(extent, a.threads, [&](int64_t b, int64_t c, int64_t first, int64_t end) {
    alignas(64) float buffer[kNoiseBuffer];
    const NoiseKey& key = a.keys[b];
    const uint64_t plane = static_cast<uint64_t>(key.sample) * extent.channels + c;
    for (int64_t h = first; h < end; ++h) {
      const NoiseRow row =
          noise_row(key.seed, static_cast<uint32_t>(key.origin_h + h), static_cast<uint32_t>(plane),
                    noise_iteration_word(a.iteration, a.stream));
      float* z = a.z + ((b * extent.channels + c) * extent.height + h) * extent.width;
      for (int64_t w = 0; w < extent.width; w += kNoiseTile) {
        const int64_t n = extent.width - w < kNoiseTile ? extent.width - w : kNoiseTile;
        const float* made = fill_noise(buffer, row, static_cast<uint32_t>(key.origin_w + w), n);
        std::memcpy(z + w, made, n * sizeof(float));
      }
    }
  });
}

}  // namespace ddrm_fast::DDRM_FAST_ISA
