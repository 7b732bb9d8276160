#include "channel_common.h"
#include "kernels.h"

namespace ddrm_fast::DDRM_FAST_ISA {
namespace {

// Pixels of a block: the sums of a pass over its channels stay in registers, its channels in the
// first cache. Planes of pictures lie powers of two apart, so a block is copied to memory where its
// channels do not share cache sets.
constexpr int kVectors = 8;
constexpr int64_t kBlock = kVectors * kLanes;
constexpr int64_t kBlockStride = kBlock + kLanes;
constexpr int64_t kBlocksOfTask = 16;

struct Moments {
  f32x16 mean[kVectors], scale[kVectors];
};

// Copies n pixels of a block, zeros behind them; mean and 1 / sqrt(var + eps) of each.
DDRM_INLINE Moments read_block(float* x, const Planes& planes, int64_t b, int64_t channels,
                               int64_t first, int64_t n, float eps) {
  Moments m;
  const f32x16 share(1.0f / static_cast<float>(channels));
  for (int k = 0; k < kVectors; ++k) m.mean[k] = m.scale[k] = f32x16(0.0f);
  const bool direct = planes.type == OutputType::kFloat32 && n == kBlock;
  for (int64_t c = 0; c < channels; ++c) {
    float* to = x + c * kBlockStride;
    const float* from = to;
    if (direct) {
      from = floats(planes, b, c, first);
    } else {
      read_floats(to, planes, b, c, first, n);
      for (int64_t i = n; i < kBlock; ++i) to[i] = 0.0f;
    }
    for (int k = 0; k < kVectors; ++k) {
      const f32x16 v = load(from + k * kLanes);
      if (direct) {
        __builtin_prefetch(from + kBlock + k * kLanes);
        store(to + k * kLanes, v);
      }
      m.mean[k] = m.mean[k] + v;
    }
  }
  for (int k = 0; k < kVectors; ++k) m.mean[k] = m.mean[k] * share;
  for (int64_t c = 0; c < channels; ++c) {
    const float* from = x + c * kBlockStride;
    for (int k = 0; k < kVectors; ++k) {
      const f32x16 d = load(from + k * kLanes) - m.mean[k];
      m.scale[k] = m.scale[k] + d * d;
    }
  }
  for (int k = 0; k < kVectors; ++k) {
    m.scale[k] = f32x16(1.0f) / square_root(m.scale[k] * share + f32x16(eps));
  }
  return m;
}

DDRM_INLINE void put_block(const Target& target, int64_t n, const f32x16 (&v)[kVectors]) {
  for (int k = 0; k < kVectors; ++k) {
    const int64_t at = k * kLanes;
    if (at + kLanes <= n) {
      target.put(at, v[k], AllLanes{});
    } else if (at < n) {
      target.put(at, v[k], FirstLanes{n - at});
    }
  }
}

// Runs function(task, batch, first pixel, number of pixels) for the blocks of `tile` pixels.
template <class Function>
void for_blocks(const Extent& e, int64_t tile, int threads, const Function& function) {
  const int64_t pixels = e.height * e.width, tiles = (pixels + tile - 1) / tile;
  parallel(e.batch * tiles, e.batch * e.channels * pixels, threads, [&](int64_t task) {
    const int64_t b = task / tiles, first = task % tiles * tile;
    const int64_t end = first + tile < pixels ? first + tile : pixels;
    for (int64_t at = first; at < end; at += kBlock) {
      function(task, b, at, end - at < kBlock ? end - at : kBlock);
    }
  });
}

}  // namespace

void channel_norm(const Threaded<ChannelNorm>& a) {
  const Extent& e = a.extent;
  const bool stream = streams(a.y, e);
  for_blocks(
      e, kBlock * kBlocksOfTask, a.threads, [&](int64_t, int64_t b, int64_t first, int64_t n) {
        float* x = thread_scratch(e.channels * kBlockStride);
        Moments m = read_block(x, a.x, b, e.channels, first, n, a.eps);
        if (!a.centred) {
          for (f32x16& mean : m.mean) mean = f32x16(0.0f);
        }
        for (int64_t c = 0; c < e.channels; ++c) {
          const f32x16 gain(a.gain[b * a.gain_stride + c]);
          const f32x16 offset(a.offset == nullptr ? 0.0f : a.offset[b * a.offset_stride + c]);
          f32x16 y[kVectors];
          for (int k = 0; k < kVectors; ++k) {
            const f32x16 v = load(x + c * kBlockStride + k * kLanes) - m.mean[k];
            y[k] = v * m.scale[k] * gain + offset;
          }
          put_block(Target(a.y, b, c, first, stream), n, y);
        }
        if (stream) finish_stream();
      });
}

// With u = grad gain and r = 1 / sqrt(var + eps), n the normalised x and m the mean over channels:
// centred: dx = r (u - m(u) - n m(u n)); else dx = r u - (x - mean) r^3 m(u x).
void channel_norm_backward(const Threaded<ChannelNormBackward>& a) {
  const Extent& e = a.extent;
  const int64_t channels = e.channels;
  const f32x16 share(1.0f / static_cast<float>(channels));
  std::memset(
      a.partial, 0,
      static_cast<size_t>(e.batch * ((e.height * e.width + a.tile - 1) / a.tile) * 2 * channels) *
          sizeof(float));
  for_blocks(e, a.tile, a.threads, [&](int64_t task, int64_t b, int64_t first, int64_t n) {
    float* x = thread_scratch(2 * channels * kBlockStride);
    float* grad = x + channels * kBlockStride;
    const Moments m = read_block(x, a.x, b, channels, first, n, a.eps);
    f32x16 of_u[kVectors], of_product[kVectors];
    for (int k = 0; k < kVectors; ++k) of_u[k] = of_product[k] = f32x16(0.0f);
    float* partial = a.partial + task * 2 * channels;
    for (int64_t c = 0; c < channels; ++c) {
      float* g = grad + c * kBlockStride;
      read_floats(g, a.grad, b, c, first, n);
      for (int64_t i = n; i < kBlock; ++i) g[i] = 0.0f;
      const f32x16 gain(a.gain[b * a.gain_stride + c]);
      f32x16 for_gain(0.0f), for_offset(0.0f);
      for (int k = 0; k < kVectors; ++k) {
        f32x16 v = load(x + c * kBlockStride + k * kLanes);
        if (a.centred) v = v - m.mean[k];
        const f32x16 normal = v * m.scale[k], gk = load(g + k * kLanes);
        for_gain = for_gain + gk * normal;
        for_offset = for_offset + gk;
        of_u[k] = of_u[k] + gk * gain;
        of_product[k] = of_product[k] + gk * gain * normal;
      }
      partial[c] += sum_of_lanes(for_gain);
      partial[channels + c] += sum_of_lanes(for_offset);
    }
    for (int k = 0; k < kVectors; ++k) {
      of_u[k] = a.centred ? of_u[k] * share : f32x16(0.0f);
      of_product[k] = of_product[k] * share;
    }
    for (int64_t c = 0; c < channels; ++c) {
      const f32x16 gain(a.gain[b * a.gain_stride + c]);
      f32x16 dx[kVectors];
      for (int k = 0; k < kVectors; ++k) {
        const int64_t at = c * kBlockStride + k * kLanes;
        const f32x16 normal = (load(x + at) - m.mean[k]) * m.scale[k];
        dx[k] = (load(grad + at) * gain - normal * of_product[k] - of_u[k]) * m.scale[k];
      }
      put_block(Target(a.dx, b, c, first), n, dx);
    }
  });
}

}  // namespace ddrm_fast::DDRM_FAST_ISA
