// What the steps share: sources of x_t, network output and noise, by tiles of one row.
#pragma once

#include "ddrm_fast/affine.h"
#include "kernels.h"
#include "noise.h"
#include "tasks.h"

namespace ddrm_fast::DDRM_FAST_ISA {

constexpr int64_t kTile = kNoiseTile;
constexpr int64_t kStreamBytes = int64_t{1} << 26;

// One row of one plane of a network's output as float32: in place, or converted into the buffer.
class OutputRow {
 public:
  OutputRow(const NetworkOutput& out, int64_t b, int64_t c, int64_t offset)
      : type_(out.type), offset_(b * out.batch_stride + c * out.channel_stride + offset) {
    data_ = out.data;
  }

  const float* tile(int64_t column, int64_t n, float* buffer) const {
    if (type_ == OutputType::kFloat32) {
      return static_cast<const float*>(data_) + offset_ + column;
    }
    const uint16_t* source = static_cast<const uint16_t*>(data_) + offset_ + column;
    int64_t i = 0;
    for (; i + kLanes <= n; i += kLanes) store(buffer + i, convert(source + i));
    if (i < n) {
      uint16_t rest[kLanes] = {};
      for (int64_t j = i; j < n; ++j) rest[j - i] = source[j];
      store(buffer + i, convert(rest));
    }
    return buffer;
  }

 private:
  f32x16 convert(const uint16_t* p) const {
    return type_ == OutputType::kFloat16 ? load_float16(p) : load_bfloat16(p);
  }

  const void* data_;
  OutputType type_;
  int64_t offset_;
};

// The row of the table for an image. The initial state has no prediction: its coefficients are 0,
// and nothing is clipped.
DDRM_INLINE Row step_row(const StepArguments& step, int64_t b) {
  Row row = step.rows[b * step.row_stride];
  if (step.x_t == nullptr) {
    row.p_x = row.p_out = row.q_x = row.q_out = 0.0f;
    row.clip_lo = -__builtin_inff();
    row.clip_hi = __builtin_inff();
  }
  return row;
}

// Whether results go past the caches: a state that no cache holds is not read again from one, and a
// plain store would first read what it overwrites.
DDRM_INLINE bool streams(const StepArguments& step) {
  const Extent& e = step.extent;
  const int64_t bytes = 4 * e.batch * e.channels * e.height * e.width;
  return bytes >= kStreamBytes && step.x_next != step.x_t && e.width % kLanes == 0 &&
         reinterpret_cast<std::uintptr_t>(step.x_next) % 64 == 0;
}

DDRM_INLINE NoiseRow step_noise_row(const StepArguments& step, int64_t b, int64_t c, int64_t h) {
  const NoiseKey& key = step.keys[b];
  const uint64_t plane = static_cast<uint64_t>(key.sample) * step.extent.channels + c;
  return noise_row(key.seed, static_cast<uint32_t>(key.origin_h + h), static_cast<uint32_t>(plane),
                   noise_iteration_word(step.iteration, 0));
}

struct TileBuffers {
  alignas(64) float noise[kNoiseBuffer];
  alignas(64) float out[kTile + kLanes];
  alignas(64) float zero[kTile];
};

// Calls function.template run<kPredict, kNoise>() with what the row asks for.
template <Predict kPredict, class Function>
DDRM_INLINE void with_noise_trait(bool noise, Function&& function) {
  if (noise) {
    function.template run<kPredict, true>();
  } else {
    function.template run<kPredict, false>();
  }
}

template <class Function>
DDRM_INLINE void with_row_traits(const Row& row, bool noise, Function&& function) {
  switch (predict_of(row)) {
    case Predict::kAny:
      return with_noise_trait<Predict::kAny>(noise, function);
    case Predict::kOutIsEps:
      return with_noise_trait<Predict::kOutIsEps>(noise, function);
    case Predict::kClip:
      return with_noise_trait<Predict::kClip>(noise, function);
  }
}

}  // namespace ddrm_fast::DDRM_FAST_ISA
