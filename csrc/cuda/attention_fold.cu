#include "channels.h"
#include "launch.h"

namespace ddrm_fast::cuda {
namespace {

constexpr float kLeastNorm = 1e-12f;

__device__ __forceinline__ float norm_of(float square) {
  const float norm = sqrtf(square);
  return norm > kLeastNorm ? norm : kLeastNorm;
}

// A thread takes a row of a head: the softmax of its products.
__global__ void __launch_bounds__(kThreads) share_kernel(AttentionFold a) {
  const int64_t width = a.channels / a.heads, row = thread_index();
  if (row >= a.batch * a.channels) return;
  const Split picture = split(row, a.channels), head = split(picture.remainder, width);
  const float* squares = a.squares + picture.quotient * 2 * a.channels + head.quotient * width;
  const float scale = a.temperature[head.quotient] / norm_of(squares[head.remainder]);
  const float* gram = a.gram + row * width;
  float* share = a.share + row * width;
  float most = -3.0e38f, sum = 0.0f;
  for (int64_t j = 0; j < width; ++j) {
    share[j] = gram[j] * scale / norm_of(squares[a.channels + j]);
    most = share[j] > most ? share[j] : most;
  }
  for (int64_t j = 0; j < width; ++j) {
    share[j] = exp_of_negative<uint32_t>(share[j] - most);
    sum += share[j];
  }
  for (int64_t j = 0; j < width; ++j) share[j] /= sum;
}

__global__ void __launch_bounds__(kThreads) fold_kernel(AttentionFold a) {
  const int64_t width = a.channels / a.heads, at = thread_index();
  if (at >= a.batch * a.channels * a.channels) return;
  const Split picture = split(at, a.channels * a.channels);
  const Split place = split(picture.remainder, a.channels), head = split(place.remainder, width);
  const float* share = a.share + (picture.quotient * a.heads + head.quotient) * width * width;
  const float* projection = a.projection + place.quotient * a.channels + head.quotient * width;
  float sum = 0.0f;
  for (int64_t i = 0; i < width; ++i) {
    sum += projection[i] * share[i * width + head.remainder];
  }
  a.folded[at] = sum;
}

}  // namespace

void attention_fold(const AttentionFold& a, const Place& place) {
  launch("attention_fold", share_kernel, over_planes(a.batch * a.channels, 1), place, a);
  launch("attention_fold", fold_kernel, over_planes(a.batch * a.channels * a.channels, 1), place,
         a);
}

}  // namespace ddrm_fast::cuda
