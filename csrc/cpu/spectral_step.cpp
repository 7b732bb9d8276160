#include "spectral_common.h"

namespace ddrm_fast::DDRM_FAST_ISA {
namespace {

struct Tile {
  float* x_next;
  const float* x_t;
  const float* out;
  const float* u;  // or null
  const float* s;
  int64_t s_stride;
  const float* z;
  int64_t n;  // coefficients
};

template <bool kNoise, bool kMeasured, class Lanes>
DDRM_INLINE void update_pairs(const Row& row, const Tile& tile, int64_t at,
                              const Weights<f32x16>& w, f32x16 s, Lanes lanes) {
  const Prediction<f32x16> p =
      predict<Predict::kAny>(row, load(tile.x_t + at, lanes), load(tile.out + at, lanes));
  f32x16 x = w.a * p.x0 + w.b * p.eps;
  if (kMeasured) {
    x = select(less(f32x16(0.0f), s), x + w.c * load(tile.u + at, lanes), x);
  }
  if (kNoise) x = x + w.d * load(tile.z + at, lanes);
  store(tile.x_next + at, x, lanes);
}

template <bool kNoise, bool kMeasured>
void update(const Row& row, const Tile& tile) {
  const Weights<f32x16> null = null_weights<f32x16>(row);
  for_lanes(tile.n, [&](int64_t i, auto lanes) {
    Weights<f32x16> first = null, second = null;
    f32x16 s_first, s_second;
    if (kMeasured) {
      const f32x16 s = load_strided(tile.s, tile.s_stride, i, lanes);
      const Weights<f32x16> w = select_weights(row, s);
      duplicate_lanes(s, s_first, s_second);
      duplicate_lanes(w.a, first.a, second.a);
      duplicate_lanes(w.b, first.b, second.b);
      duplicate_lanes(w.c, first.c, second.c);
      duplicate_lanes(w.d, first.d, second.d);
    }
    update_pairs<kNoise, kMeasured>(row, tile, 2 * i, first, s_first, first_half(lanes));
    update_pairs<kNoise, kMeasured>(row, tile, 2 * i + kLanes, second, s_second,
                                    second_half(lanes));
  });
}

}  // namespace

// One affine step on half spectra, with Hermitian noise Z:
//   X_next = a(s) X0 + b(s) EPS + c(s) U + d(s) Z
// X (B, C, H, width / 2 + 1) complex64; U the same or batch 1; s real, each dimension full or 1.
void spectral_step(const StepArguments& a, int64_t width) {
  const SpectralNoise noise(a, width);
  Extent floats = a.extent;
  floats.width *= 2;
  for_bands(floats, a.threads, [&](int64_t b, int64_t c, int64_t begin, int64_t end) {
    TileBuffers buffers;
    const Row row = step_row(a, b);
    const bool noisy = draws_noise(row), measured = a.u.data != nullptr;
    if (a.x_t == nullptr) std::memset(buffers.zero, 0, sizeof(buffers.zero));
    for (int64_t h = begin; h < end; ++h) {
      for (int64_t k = 0; k < a.extent.width; k += kSpectralTile) {
        Tile tile;
        tile.n = a.extent.width - k < kSpectralTile ? a.extent.width - k : kSpectralTile;
        const int64_t at =
            2 * (((b * a.extent.channels + c) * a.extent.height + h) * a.extent.width + k);
        tile.x_next = a.x_next + at;
        tile.x_t = a.x_t == nullptr ? buffers.zero : a.x_t + at;
        tile.out = a.x_t == nullptr ? buffers.zero : static_cast<const float*>(a.out.data) + at;
        tile.u = measured ? row_of(a.u, b, c, h) + 2 * k : nullptr;
        tile.s_stride = a.s.stride[3];
        tile.s = row_of(a.s, b, c, h) + k * tile.s_stride;
        tile.z = noisy ? noise.tile(b, c, h, k, tile.n, buffers.noise) : nullptr;
        if (noisy && measured) {
          update<true, true>(row, tile);
        } else if (noisy) {
          update<true, false>(row, tile);
        } else if (measured) {
          update<false, true>(row, tile);
        } else {
          update<false, false>(row, tile);
        }
      }
    }
  });
}

}  // namespace ddrm_fast::DDRM_FAST_ISA
