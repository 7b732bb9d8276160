#include "channels.h"
#include "launch.h"

namespace ddrm_fast::cuda {
namespace {

// A block is 32 pixels by eight threads that share their channels.
constexpr int kGroups = 8, kPixels = 32;

// Sum over the groups of a block, for every pixel.
__device__ float sum_of_groups(float a, float* memory) {
  __syncthreads();
  memory[threadIdx.x] = a;
  __syncthreads();
  float sum = 0.0f;
  for (int g = 0; g < kGroups; ++g) sum += memory[g * kPixels + threadIdx.x % kPixels];
  return sum;
}

struct Moments {
  float mean, scale;
};

__device__ Moments moments(const Planes& x, int64_t b, int64_t at, bool inside, int64_t channels,
                           float eps, float* memory) {
  const int group = threadIdx.x / kPixels;
  const float share = 1.0f / static_cast<float>(channels);
  float sum = 0.0f;
  for (int64_t c = group; c < channels; c += kGroups) {
    sum += inside ? load_number(x, b, c, at) : 0.0f;
  }
  const float mean = sum_of_groups(sum, memory) * share;
  sum = 0.0f;
  for (int64_t c = group; c < channels; c += kGroups) {
    const float d = inside ? load_number(x, b, c, at) - mean : 0.0f;
    sum += d * d;
  }
  return {mean, 1.0f / sqrtf(sum_of_groups(sum, memory) * share + eps)};
}

// Pixels come from memory three times; the second and third time they are in a cache, since a block
// reads no more than 128 bytes of each channel.
__global__ void __launch_bounds__(kThreads) channel_norm_kernel(ChannelNorm a) {
  float* memory = shared_memory<float>();
  const Extent& e = a.extent;
  const int64_t pixels = e.height * e.width;
  const int64_t at = static_cast<int64_t>(blockIdx.x) * kPixels + threadIdx.x % kPixels;
  const bool inside = at < pixels;
  for (int64_t b = blockIdx.y; b < e.batch; b += gridDim.y) {
    const Moments m = moments(a.x, b, at, inside, e.channels, a.eps, memory);
    if (!inside) continue;
    for (int64_t c = threadIdx.x / kPixels; c < e.channels; c += kGroups) {
      const float offset = a.offset == nullptr ? 0.0f : a.offset[b * a.offset_stride + c];
      const float x = load_number(a.x, b, c, at) - (a.centred ? m.mean : 0.0f);
      store_number(a.y, b, c, at, x * m.scale * a.gain[b * a.gain_stride + c] + offset);
    }
  }
}

// A block takes a whole tile, so that its sums need no other block.
__global__ void __launch_bounds__(kThreads) channel_norm_backward_kernel(ChannelNormBackward a) {
  float* memory = shared_memory<float>();
  float* sums = memory + kThreads;  // [2][channels]
  const Extent& e = a.extent;
  const int64_t pixels = e.height * e.width, channels = e.channels, tiles = gridDim.x;
  const int group = threadIdx.x / kPixels, lane = threadIdx.x % kPixels;
  const float share = 1.0f / static_cast<float>(channels);
  for (int64_t b = blockIdx.y; b < e.batch; b += gridDim.y) {
    __syncthreads();
    for (int64_t i = threadIdx.x; i < 2 * channels; i += kThreads) sums[i] = 0.0f;
    const int64_t first = static_cast<int64_t>(blockIdx.x) * a.tile;
    for (int64_t start = first; start < first + a.tile; start += kPixels) {
      const int64_t at = start + lane;
      const bool inside = at < pixels;
      const Moments m = moments(a.x, b, at, inside, channels, a.eps, memory);
      float of_u = 0.0f, of_product = 0.0f;
      for (int64_t c = group; c < channels; c += kGroups) {
        const float g = inside ? load_number(a.grad, b, c, at) : 0.0f;
        const float x = inside ? load_number(a.x, b, c, at) - (a.centred ? m.mean : 0.0f) : 0.0f;
        const float normal = x * m.scale, u = g * a.gain[b * a.gain_stride + c];
        of_u += u;
        of_product += u * normal;
        const float for_gain = sum_of_warp(g * normal), for_offset = sum_of_warp(g);
        if (lane == 0) {
          sums[c] += for_gain;
          sums[channels + c] += for_offset;
        }
      }
      of_u = sum_of_groups(of_u, memory) * (a.centred ? share : 0.0f);
      of_product = sum_of_groups(of_product, memory) * share;
      if (!inside) continue;
      for (int64_t c = group; c < channels; c += kGroups) {
        const float u = load_number(a.grad, b, c, at) * a.gain[b * a.gain_stride + c];
        const float normal = (load_number(a.x, b, c, at) - m.mean) * m.scale;
        store_number(a.dx, b, c, at, (u - normal * of_product - of_u) * m.scale);
      }
    }
    __syncthreads();
    float* partial = a.partial + (b * tiles + blockIdx.x) * 2 * channels;
    for (int64_t i = threadIdx.x; i < 2 * channels; i += kThreads) partial[i] = sums[i];
  }
}

LaunchShape over_tiles(const Extent& e, int64_t tile, size_t floats) {
  const int64_t tiles = (e.height * e.width + tile - 1) / tile;
  const int64_t rows = e.batch < kMostPlanes ? e.batch : kMostPlanes;
  return {dim3(static_cast<unsigned>(tiles), static_cast<unsigned>(rows)), kThreads,
          floats * sizeof(float)};
}

}  // namespace

void channel_norm(const ChannelNorm& a, const Place& place) {
  launch("channel_norm", channel_norm_kernel, over_tiles(a.extent, kPixels, kThreads), place, a);
}

void channel_norm_backward(const ChannelNormBackward& a, const Place& place) {
  const size_t floats = kThreads + 2 * static_cast<size_t>(a.extent.channels);
  launch("channel_norm_backward", channel_norm_backward_kernel,
         over_tiles(a.extent, a.tile, floats), place, a);
}

}  // namespace ddrm_fast::cuda
