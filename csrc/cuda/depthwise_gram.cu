#include "channels.h"
#include "launch.h"

namespace ddrm_fast::cuda {
namespace {

// A block multiplies 64 channels of q by 64 of k, 32 pixels at a time: 16 x 16 threads with 4 x 4
// products each.
constexpr int kSide = 64, kPixels = 32, kLine = kPixels + 1, kWarps = kThreads / 32;
constexpr int kOwn = kSide / kWarps;  // channels of a warp

// Which block of products, part and head a block works on.
struct Work {
  int64_t b, part, head, row, column;
};

__device__ Work work_of(const DepthwiseGram& a, int64_t parts, int64_t sides) {
  const Split tile = split(blockIdx.x, sides * sides), sub = split(tile.remainder, sides);
  const Split heads = split(blockIdx.y, a.heads), part = split(heads.quotient, parts);
  (void)tile.quotient;
  return {part.quotient, part.remainder, heads.remainder, sub.quotient * kSide,
          sub.remainder * kSide};
}

__global__ void __launch_bounds__(kThreads)
    depthwise_gram_kernel(DepthwiseGram a, int64_t parts, int64_t sides) {
  float *q = shared_memory<float>(), *k = q + kSide * kLine;
  const Extent& e = a.extent;
  const Work at = work_of(a, parts, sides);
  const int64_t width = e.channels / a.heads, base = at.head * width;
  const int64_t first = at.part * a.band * e.width;
  const int64_t end_row = (at.part + 1) * a.band < e.height ? (at.part + 1) * a.band : e.height;
  const int64_t end = end_row * e.width;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int ty = threadIdx.x / 16, tx = threadIdx.x % 16;
  float sum[4][4] = {}, of_q[kOwn] = {}, of_k[kOwn] = {};
  for (int64_t start = first; start < end; start += kPixels) {
    const int64_t pixel = start + lane;
    const Split place = split(pixel, e.width);
    __syncthreads();
    for (int n = 0; n < kOwn; ++n) {
      const int own = warp + n * kWarps;
      float left = 0.0f, right = 0.0f;
      if (pixel < end && at.row + own < width) {
        left = depthwise_at(a.x, a.depthwise, at.b, base + at.row + own, place.quotient,
                            place.remainder, e.height, e.width);
        if (at.column == 0 && a.v.data != nullptr) {
          const int64_t channel = base + at.row + own;
          const float v = depthwise_at(a.x, a.depthwise, at.b, 2 * e.channels + channel,
                                       place.quotient, place.remainder, e.height, e.width);
          store_number(a.v, at.b, channel, pixel, v);
        }
      }
      if (pixel < end && at.column + own < width) {
        right = depthwise_at(a.x, a.depthwise, at.b, e.channels + base + at.column + own,
                             place.quotient, place.remainder, e.height, e.width);
      }
      q[own * kLine + lane] = left;
      k[own * kLine + lane] = right;
      of_q[n] += left * left;
      of_k[n] += right * right;
    }
    __syncthreads();
    for (int p = 0; p < kPixels; ++p) {
      float right[4];
      for (int j = 0; j < 4; ++j) right[j] = k[(tx + 16 * j) * kLine + p];
      for (int i = 0; i < 4; ++i) {
        const float left = q[(ty + 16 * i) * kLine + p];
        for (int j = 0; j < 4; ++j) sum[i][j] += left * right[j];
      }
    }
  }
  float* gram = a.gram + ((at.b * parts + at.part) * a.heads + at.head) * width * width;
  for (int i = 0; i < 4; ++i) {
    for (int j = 0; j < 4; ++j) {
      const int64_t row = at.row + ty + 16 * i, column = at.column + tx + 16 * j;
      if (row < width && column < width) gram[row * width + column] = sum[i][j];
    }
  }
  float* squares = a.squares + (at.b * parts + at.part) * 2 * e.channels + base;
  for (int n = 0; n < kOwn; ++n) {
    const int64_t own = warp + n * kWarps;
    const float total_q = sum_of_warp(of_q[n]), total_k = sum_of_warp(of_k[n]);
    if (lane != 0) continue;
    if (at.column == 0 && at.row + own < width) squares[at.row + own] = total_q;
    if (at.row == 0 && at.column + own < width) squares[e.channels + at.column + own] = total_k;
  }
}

}  // namespace

void depthwise_gram(const DepthwiseGram& a, const Place& place) {
  const int64_t parts = (a.extent.height + a.band - 1) / a.band;
  const int64_t sides = (a.extent.channels / a.heads + kSide - 1) / kSide;
  const int64_t rows = a.extent.batch * parts * a.heads;
  if (rows > kMostPlanes) {
    throw std::invalid_argument("depthwise_gram: more than 65535 pictures times parts times heads");
  }
  const LaunchShape shape{dim3(static_cast<unsigned>(sides * sides), static_cast<unsigned>(rows)),
                          kThreads, 2 * kSide * kLine * sizeof(float)};
  launch("depthwise_gram", depthwise_gram_kernel, shape, place, a, parts, sides);
}

}  // namespace ddrm_fast::cuda
