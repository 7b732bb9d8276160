#include "channel_common.h"
#include "kernels.h"

namespace ddrm_fast::DDRM_FAST_ISA {
namespace {

constexpr float kLeastNorm = 1e-12f;

// Softmax of a row of a head's products, divided by the norms.
void share_of_row(const AttentionFold& a, int64_t b, int64_t head, int64_t i, float* norm) {
  const int64_t width = a.channels / a.heads, at = (b * a.heads + head) * width + i;
  const float* squares = a.squares + b * 2 * a.channels + head * width;
  const float q = __builtin_sqrtf(squares[i]);
  const float scale = a.temperature[head] / (q > kLeastNorm ? q : kLeastNorm);
  const float* gram = a.gram + at * width;
  float* share = a.share + at * width;
  float most = -__builtin_inff();
  for (int64_t j = 0; j < width; ++j) {
    share[j] = gram[j] * scale / norm[j];
    most = share[j] > most ? share[j] : most;
  }
  float sum = 0.0f;
  for (int64_t j = 0; j < width; ++j) {
    share[j] = exp_of_negative<uint32_t>(share[j] - most);
    sum += share[j];
  }
  for (int64_t j = 0; j < width; ++j) share[j] /= sum;
}

}  // namespace

void attention_fold(const Threaded<AttentionFold>& a) {
  const int64_t width = a.channels / a.heads, floats = a.batch * a.channels * a.channels;
  parallel(a.batch * a.heads, floats, a.threads, [&](int64_t task) {
    const int64_t b = task / a.heads, head = task % a.heads;
    float* norm = thread_scratch(width);
    const float* squares = a.squares + b * 2 * a.channels + a.channels + head * width;
    for (int64_t j = 0; j < width; ++j) {
      const float k = __builtin_sqrtf(squares[j]);
      norm[j] = k > kLeastNorm ? k : kLeastNorm;
    }
    for (int64_t i = 0; i < width; ++i) share_of_row(a, b, head, i, norm);
    const float* share = a.share + task * width * width;
    for (int64_t row = 0; row < a.channels; ++row) {
      const float* projection = a.projection + row * a.channels + head * width;
      float* folded = a.folded + (b * a.channels + row) * a.channels + head * width;
      for_lanes(width, [&](int64_t j, auto lanes) {
        f32x16 sum(0.0f);
        for (int64_t i = 0; i < width; ++i) {
          sum = sum + f32x16(projection[i]) * load(share + i * width + j, lanes);
        }
        store(folded + j, sum, lanes);
      });
    }
  });
}

}  // namespace ddrm_fast::DDRM_FAST_ISA
