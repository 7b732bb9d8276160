// Operations of networks on (B, C, H, W) whose channels or neighbouring pixels meet: what they are
// given. Planes are contiguous; batch and channel strides are free. Numbers are float32, float16 or
// bfloat16 in memory and float32 in arithmetic; weights and sums are float32.
#pragma once

#include "shapes.h"

namespace ddrm_fast {

// Written or read; as NetworkOutput, but not constant.
struct Planes {
  void* data;
  OutputType type;
  int64_t batch_stride, channel_stride;
};

// y = n gain + offset, with n = (x - mean) / sqrt(var + eps) (centred) or x / sqrt(var + eps); mean
// and variance over the channels of a pixel.
struct ChannelNorm {
  Extent extent;  // of x and y
  Planes x, y;
  const float* gain;  // [B or 1, C]
  int64_t gain_stride;
  const float* offset;  // [B or 1, C] or null
  int64_t offset_stride;
  bool centred;
  float eps;
};

// From the gradient of y: that of x, and for each batch and tile of `tile` pixels the sums of grad
// n and of grad over its pixels, [B, tiles, 2, C].
struct ChannelNormBackward {
  Extent extent;
  Planes x, grad, dx;
  const float* gain;
  int64_t gain_stride;
  float* partial;
  int64_t tile;
  bool centred;
  float eps;
};

// A depthwise 3 x 3 convolution with zeros around: `top` and `bottom` rows (0 or 1) of zeros are
// thought above and below, so that a band of a picture brings its neighbours' rows itself.
struct Depthwise {
  const float* weight;  // [channels, 3, 3]
  const float* bias;    // [channels] or null
  int64_t top, bottom;
};

// y = gelu(a) b with (a | b) = depthwise(x); x has 2 C channels and H + 2 - top - bottom rows.
struct GatedDepthwise {
  Extent extent;  // of y
  Planes x, y;
  Depthwise depthwise;
};

// From the gradient of y: that of x, and for each batch and band of `band` rows the sums for weight
// and bias, [B, bands, 2 C, 10]. No rows are given beyond the picture.
struct GatedDepthwiseBackward {
  Extent extent;  // of y and of its gradient
  Planes x, grad, dx;
  Depthwise depthwise;
  float* partial;
  int64_t band;
};

// (q | k | v) = depthwise(x), x with 3 C channels: v is written; for each batch, head and part the
// products q k^T over the pixels of the part, [B, parts, heads, C/heads, C/heads], and the sums of
// squares of q and k, [B, parts, 2, C]. A part is `band` rows.
struct DepthwiseGram {
  Extent extent;  // of v
  Planes x, v;    // v without data: not written
  Depthwise depthwise;
  int64_t heads, band;
  float *gram, *squares;
};

// W[b] = P S[b], S[b] block-diagonal: softmax over k of temperature q k^T / (|q| |k|), norms at
// least 1e-12. Applied to v by one product, W[b] v.
struct AttentionFold {
  int64_t batch, channels, heads;
  const float* gram;         // [B, heads, C/heads, C/heads]
  const float* squares;      // [B, 2, C]
  const float* temperature;  // [heads]
  const float* projection;   // P, [C, C]
  float* share;              // scratch, [B, heads, C/heads, C/heads]
  float* folded;             // W, [B, C, C]
};

}  // namespace ddrm_fast
