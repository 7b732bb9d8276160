#include "channels.h"
#include "launch.h"

namespace ddrm_fast::cuda {
namespace {

__global__ void __launch_bounds__(kThreads) gated_depthwise_kernel(GatedDepthwise a) {
  const Extent& e = a.extent;
  const int64_t at = thread_index();
  if (at >= e.height * e.width) return;
  const Split place = split(at, e.width);
  for (int64_t plane = blockIdx.y; plane < e.batch * e.channels; plane += gridDim.y) {
    const PlaneIndex i = plane_index(plane, e.channels);
    const float u = depthwise_at(a.x, a.depthwise, i.b, i.c, place.quotient, place.remainder,
                                 e.height, e.width);
    const float v = depthwise_at(a.x, a.depthwise, i.b, e.channels + i.c, place.quotient,
                                 place.remainder, e.height, e.width);
    store_number(a.y, i.b, i.c, at, gelu(u) * v);
  }
}

// Columns of a tile; with a margin of one on each side, its gradients lie in shared memory.
constexpr int kColumns = 32, kLine = kColumns + 2, kMostRows = 32;
constexpr int kSums = 20;

// One channel pair and one band of rows, tile by tile; the band's sums stay with the threads.
__global__ void __launch_bounds__(kThreads)
    gated_depthwise_backward_kernel(GatedDepthwiseBackward a, int64_t bands) {
  float* du = shared_memory<float>();
  float *dv = du + (kMostRows + 2) * kLine, *warps = dv + (kMostRows + 2) * kLine;
  const Extent& e = a.extent;
  const int64_t c = blockIdx.x, other = e.channels + c;
  for (int64_t part = blockIdx.y; part < e.batch * bands; part += gridDim.y) {
    const int64_t b = part / bands, first = part % bands * a.band;
    const int rows = static_cast<int>(e.height - first < a.band ? e.height - first : a.band);
    float sums[kSums];
    for (float& sum : sums) sum = 0.0f;
    for (int64_t left = 0; left < e.width; left += kColumns) {
      __syncthreads();
      for (int i = threadIdx.x; i < (rows + 2) * kLine; i += kThreads) {
        const int64_t r = first + i / kLine - 1, w = left + i % kLine - 1;
        du[i] = dv[i] = 0.0f;
        if (r < 0 || r >= e.height || w < 0 || w >= e.width) continue;
        const float u = depthwise_at(a.x, a.depthwise, b, c, r, w, e.height, e.width);
        const float v = depthwise_at(a.x, a.depthwise, b, other, r, w, e.height, e.width);
        const float g = load_number(a.grad, b, c, r * e.width + w);
        du[i] = g * v * gelu_derivative<uint32_t>(u);
        dv[i] = g * gelu(u);
      }
      __syncthreads();
      for (int i = threadIdx.x; i < rows * kColumns; i += kThreads) {
        const int row = i / kColumns, column = i % kColumns;
        const int64_t r = first + row, w = left + column;
        if (w >= e.width) continue;
        const float *one = du + row * kLine + column, *two = dv + row * kLine + column;
        const float own_u = one[kLine + 1], own_v = two[kLine + 1];
        float dx_one = 0.0f, dx_two = 0.0f;
        for (int k = 0; k < 9; ++k) {
          const int near = k / 3 * kLine + k % 3;
          dx_one += one[near] * a.depthwise.weight[c * 9 + 8 - k];
          dx_two += two[near] * a.depthwise.weight[other * 9 + 8 - k];
          const int64_t x_row = r + k / 3 - 1, x_column = w + k % 3 - 1;
          if (x_row < 0 || x_row >= e.height || x_column < 0 || x_column >= e.width) continue;
          sums[k] += own_u * load_number(a.x, b, c, x_row * e.width + x_column);
          sums[10 + k] += own_v * load_number(a.x, b, other, x_row * e.width + x_column);
        }
        sums[9] += own_u;
        sums[19] += own_v;
        store_number(a.dx, b, c, r * e.width + w, dx_one);
        store_number(a.dx, b, other, r * e.width + w, dx_two);
      }
    }
    for (int k = 0; k < kSums; ++k) {
      const float sum = sum_of_warp(sums[k]);
      if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32 * kSums + k] = sum;
    }
    __syncthreads();
    if (threadIdx.x < kSums) {
      float sum = 0.0f;
      for (unsigned w = 0; w < kThreads / 32; ++w) sum += warps[w * kSums + threadIdx.x];
      const int64_t channel = threadIdx.x < 10 ? c : other;
      a.partial[(part * 2 * e.channels + channel) * 10 + threadIdx.x % 10] = sum;
    }
  }
}

}  // namespace

void gated_depthwise(const GatedDepthwise& a, const Place& place) {
  const Extent& e = a.extent;
  const LaunchShape shape = over_planes(e.height * e.width, e.batch * e.channels);
  launch("gated_depthwise", gated_depthwise_kernel, shape, place, a);
}

void gated_depthwise_backward(const GatedDepthwiseBackward& a, const Place& place) {
  if (a.band > kMostRows) throw std::invalid_argument("band: expected at most 32 rows");
  const int64_t bands = (a.extent.height + a.band - 1) / a.band, parts = a.extent.batch * bands;
  const int64_t rows = parts < kMostPlanes ? parts : kMostPlanes;
  const size_t floats = 2 * (kMostRows + 2) * kLine + kThreads / 32 * kSums;
  const LaunchShape shape{
      dim3(static_cast<unsigned>(a.extent.channels), static_cast<unsigned>(rows)), kThreads,
      floats * sizeof(float)};
  launch("gated_depthwise_backward", gated_depthwise_backward_kernel, shape, place, a, bands);
}

}  // namespace ddrm_fast::cuda
