#include "step_common.h"

namespace ddrm_fast::DDRM_FAST_ISA {
namespace {

// How the singular values of a tile are met: none positive, one for all, one positive one beside
// zeros, or any.
enum class Spectrum { kNull, kConstant, kTwoValued, kAny };

struct Tile {
  float* x_next;
  float* x0;
  const float* x_t;
  const float* out;
  const float* u;
  const float* s;
  const float* z;
  int64_t n;
  bool stream;
};

struct TileSpectrum {
  Spectrum kind;
  float value;
};

TileSpectrum classify(const float* s, int64_t stride, int64_t n) {
  if (stride == 0) return {s[0] > 0.0f ? Spectrum::kConstant : Spectrum::kNull, s[0]};
  const f32x16 zero(0.0f), infinity(__builtin_inff());
  f32x16 largest = zero, smallest = infinity;
  for_lanes(n, [&](int64_t i, auto lanes) {
    const f32x16 here = load(s + i, lanes);
    largest = greater_of(here, largest);
    smallest = lesser_of(select(less(zero, here), here, infinity), smallest);
  });
  float high[kLanes], low[kLanes];
  store(high, largest);
  store(low, smallest);
  for (int i = 1; i < kLanes; ++i) {
    high[0] = high[i] > high[0] ? high[i] : high[0];
    low[0] = low[i] < low[0] ? low[i] : low[0];
  }
  if (!(high[0] > 0.0f)) return {Spectrum::kNull, 0.0f};
  return {high[0] == low[0] ? Spectrum::kTwoValued : Spectrum::kAny, high[0]};
}

// x_next = ((a x0 + b eps) + c u) + d z
template <Predict kPredict, bool kNoise, Spectrum kSpectrum>
void update(const Row& row, float value, const Tile& tile) {
  const Weights<f32x16> null = null_weights<f32x16>(row);
  Weights<f32x16> weights = null;
  if (kSpectrum == Spectrum::kConstant || kSpectrum == Spectrum::kTwoValued) {
    weights = measured_weights(row, f32x16(value));
  }
  for_lanes(tile.n, [&](int64_t i, auto lanes) __attribute__((always_inline)) {
    const Prediction<f32x16> p =
        predict<kPredict>(row, load(tile.x_t + i, lanes), load(tile.out + i, lanes));
    Weights<f32x16> w = weights;
    mask16 measured;
    if (kSpectrum == Spectrum::kTwoValued || kSpectrum == Spectrum::kAny) {
      const f32x16 s = load(tile.s + i, lanes);
      measured = less(f32x16(0.0f), s);
      if (kSpectrum == Spectrum::kAny) w = measured_weights(row, s);
      w.a = select(measured, w.a, null.a);
      w.b = select(measured, w.b, null.b);
      w.d = select(measured, w.d, null.d);
    }
    f32x16 x = w.a * p.x0 + w.b * p.eps;
    if (kSpectrum == Spectrum::kConstant) {
      x = x + w.c * load(tile.u + i, lanes);
    } else if (kSpectrum != Spectrum::kNull) {
      x = select(measured, x + w.c * load(tile.u + i, lanes), x);
    }
    if (kNoise) x = x + w.d * load(tile.z + i, lanes);
    if (tile.x0 != nullptr) store(tile.x0 + i, p.x0, lanes);
    store_result(tile.x_next + i, x, lanes, tile.stream);
  });
}

struct UpdateTile {
  const Row& row;
  TileSpectrum spectrum;
  const Tile& tile;

  template <Predict kPredict, bool kNoise>
  void run() {
    switch (spectrum.kind) {
      case Spectrum::kNull:
        return update<kPredict, kNoise, Spectrum::kNull>(row, 0.0f, tile);
      case Spectrum::kConstant:
        return update<kPredict, kNoise, Spectrum::kConstant>(row, spectrum.value, tile);
      case Spectrum::kTwoValued:
        return update<kPredict, kNoise, Spectrum::kTwoValued>(row, spectrum.value, tile);
      case Spectrum::kAny:
        return update<kPredict, kNoise, Spectrum::kAny>(row, 0.0f, tile);
    }
  }
};

void step_band(const StepArguments& a, int64_t b, int64_t c, int64_t first, int64_t end) {
  const Extent& extent = a.extent;
  TileBuffers buffers;
  const Row row = step_row(a, b);
  const bool noise = draws_noise(row), stream = streams(a);
  if (a.x_t == nullptr) std::memset(buffers.zero, 0, sizeof(buffers.zero));
  for (int64_t h = first; h < end; ++h) {
    const int64_t in_plane = h * extent.width;
    const int64_t offset = (b * extent.channels + c) * extent.height * extent.width + in_plane;
    const OutputRow out(a.out, b, c, in_plane);
    const float* s = row_of(a.s, b, c, h);
    const int64_t s_stride = a.s.stride[3];
    NoiseRow noise_keys;
    if (noise && a.noise == nullptr) noise_keys = step_noise_row(a, b, c, h);
    for (int64_t w = 0; w < extent.width; w += kTile) {
      Tile tile;
      tile.n = extent.width - w < kTile ? extent.width - w : kTile;
      tile.stream = stream;
      tile.x_next = a.x_next + offset + w;
      tile.x0 = a.x0 == nullptr ? nullptr : a.x0 + offset + w;
      tile.x_t = a.x_t == nullptr ? buffers.zero : a.x_t + offset + w;
      tile.out = a.x_t == nullptr ? buffers.zero : out.tile(w, tile.n, buffers.out);
      tile.u = a.u.data == nullptr ? nullptr : row_of(a.u, b, c, h) + w;
      tile.s = s + w * s_stride;
      tile.z = nullptr;
      if (noise) {
        const Ahead ahead{{tile.x_t, tile.out, tile.u == nullptr ? tile.x_t : tile.u}};
        tile.z = a.noise != nullptr
                     ? a.noise + offset + w
                     : fill_noise(buffers.noise, noise_keys,
                                  static_cast<uint32_t>(a.keys[b].origin_w + w), tile.n, ahead);
      }
      const TileSpectrum spectrum = a.u.data == nullptr ? TileSpectrum{Spectrum::kNull, 0.0f}
                                                        : classify(tile.s, s_stride, tile.n);
      with_row_traits(row, noise, UpdateTile{row, spectrum, tile});
    }
  }
  if (stream) finish_stream();
}

}  // namespace

// One affine step where every coefficient is a group of its own:
//   x_next = a(s) x0 + b(s) eps + c(s) u + d(s) z
// x_next, x_t, out, z (B, C, H, W); u (B or 1, C, H, W); s: each dimension full or 1.
// Kawar et al., "Denoising Diffusion Restoration Models", 2022, eqs. 7 and 8, for DDRM's weights.
void pointwise_step(const StepArguments& a) {
  for_bands(a.extent, a.threads, [&](int64_t b, int64_t c, int64_t first, int64_t end) {
    step_band(a, b, c, first, end);
  });
}

}  // namespace ddrm_fast::DDRM_FAST_ISA
