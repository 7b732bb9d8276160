#include "step_common.h"

namespace ddrm_fast::DDRM_FAST_ISA {
namespace {

template <Predict kPredict>
void predict_tile(const Row& row, float* x0, const float* x_t, const float* out, int64_t n) {
  for_lanes(n, [&](int64_t i, auto lanes) {
    store(x0 + i, predict<kPredict>(row, load(x_t + i, lanes), load(out + i, lanes)).x0, lanes);
  });
}

}  // namespace

// x0 = clip(p_x x_t + p_out out), (B, C, H, W).
void predict_x0(const PredictArguments& a) {
  const Extent& extent = a.extent;
  for_bands(extent, a.threads, [&](int64_t b, int64_t c, int64_t first, int64_t end) {
    alignas(64) float buffer[kTile + kLanes];
    const Row& row = a.rows[b * a.row_stride];
    for (int64_t h = first; h < end; ++h) {
      const OutputRow out(a.out, b, c, h * extent.width);
      const int64_t offset = ((b * extent.channels + c) * extent.height + h) * extent.width;
      for (int64_t w = 0; w < extent.width; w += kTile) {
        const int64_t n = extent.width - w < kTile ? extent.width - w : kTile;
        const float* source = out.tile(w, n, buffer);
        if (clips(row)) {
          predict_tile<Predict::kClip>(row, a.x0 + offset + w, a.x_t + offset + w, source, n);
        } else {
          predict_tile<Predict::kAny>(row, a.x0 + offset + w, a.x_t + offset + w, source, n);
        }
      }
    }
  });
}

}  // namespace ddrm_fast::DDRM_FAST_ISA
