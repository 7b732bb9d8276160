#include "step_common.h"

namespace ddrm_fast::DDRM_FAST_ISA {
namespace {

struct Tile {
  float* x_next;
  const float* x_t;
  const float* out;
  const float* image;
  const float* known;  // 1 or 0
  const float* z;
  int64_t n;
};

struct UpdateTile {
  const Row& row;
  const Tile& tile;

  template <Predict kPredict, bool kNoise>
  void run() {
    const Weights<f32x16> w = null_weights<f32x16>(row);
    for_lanes(tile.n, [&](int64_t i, auto lanes) __attribute__((always_inline)) {
      const mask16 known = less(f32x16(0.0f), load(tile.known + i, lanes));
      const Prediction<f32x16> p =
          predict<kPredict>(row, load(tile.x_t + i, lanes), load(tile.out + i, lanes));
      f32x16 x = w.a * load(tile.image + i, lanes) + w.b * p.eps;
      if (kNoise) x = x + w.d * load(tile.z + i, lanes);
      store(tile.x_next + i, select(known, x, load(tile.x_next + i, lanes)), lanes);
    });
  }
};

// The mask as numbers; false where nothing is known.
bool read_mask(const uint8_t* mask, int64_t n, float* known) {
  uint32_t any = 0;
  for (int64_t i = 0; i < n; ++i) {
    any |= mask[i];
    known[i] = mask[i] != 0 ? 1.0f : 0.0f;
  }
  return any != 0;
}

void known_band(const StepArguments& a, const MaskField& mask, int64_t b, int64_t c, int64_t first,
                int64_t end) {
  const Extent& extent = a.extent;
  TileBuffers buffers;
  alignas(64) float known[kTile];
  Row row = step_row(a, b);
  // The network's own eps, not one derived from a clipped x0.
  row.clip_lo = -__builtin_inff();
  row.clip_hi = __builtin_inff();
  const bool noise = row.null_d != 0.0f;
  for (int64_t h = first; h < end; ++h) {
    const int64_t in_plane = h * extent.width;
    const int64_t offset = (b * extent.channels + c) * extent.height * extent.width + in_plane;
    const OutputRow out(a.out, b, c, in_plane);
    NoiseRow noise_keys;
    if (noise && a.noise == nullptr) noise_keys = step_noise_row(a, b, c, h);
    for (int64_t w = 0; w < extent.width; w += kTile) {
      Tile tile;
      tile.n = extent.width - w < kTile ? extent.width - w : kTile;
      // (a mask of one column has stride 0 there, and one column)
      if (!read_mask(row_of(mask, b, c, h) + w, tile.n, known)) continue;
      tile.known = known;
      tile.x_next = a.x_next + offset + w;
      tile.x_t = a.x_t + offset + w;
      tile.out = out.tile(w, tile.n, buffers.out);
      tile.image = row_of(a.u, b, c, h) + w;
      tile.z = nullptr;
      if (noise) {
        tile.z = a.noise != nullptr
                     ? a.noise + offset + w
                     : fill_noise(buffers.noise, noise_keys,
                                  static_cast<uint32_t>(a.keys[b].origin_w + w), tile.n);
      }
      with_row_traits(row, noise, UpdateTile{row, tile});
    }
  }
}

}  // namespace

// Known pixels of a new state, in place: where the mask is 1,
//   x_next = a image + b eps + d z
// with the null branch's weights and the noise of the pixel. x_next, x_t, z (B, C, H, W); image (B
// or 1, C, H, W); mask (B or 1, C or 1, H, W). Parts of a row without a known pixel are not read.
void known_step(const StepArguments& a, const MaskField& mask) {
  for_bands(a.extent, a.threads, [&](int64_t b, int64_t c, int64_t first, int64_t end) {
    known_band(a, mask, b, c, first, end);
  });
}

}  // namespace ddrm_fast::DDRM_FAST_ISA
