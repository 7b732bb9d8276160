// How the arguments of operations of networks reach the extension modules: one tuple of numbers, of
// which planes take four (address, type, batch stride, channel stride).
#pragma once

#include "binding_arguments.h"
#include "ddrm_fast/channels.h"

namespace ddrm_fast {

// Reads a tuple from its beginning to its end.
class Reader {
 public:
  explicit Reader(const py::tuple& t) : t_(t) {}

  int64_t integer() { return integer_at(t_, next()); }
  float number() { return t_[next()].cast<float>(); }
  template <class T>
  T* pointer() {
    return ddrm_fast::pointer<T>(static_cast<Address>(integer()));
  }
  Extent extent() {
    const int64_t batch = integer(), channels = integer(), height = integer();
    return {batch, channels, height, integer()};
  }
  Planes planes() {
    void* data = pointer<void>();
    const auto type = static_cast<OutputType>(integer());
    const int64_t batch_stride = integer();
    return {data, type, batch_stride, integer()};
  }
  Depthwise depthwise() {
    const float *weight = pointer<const float>(), *bias = pointer<const float>();
    const int64_t top = integer();
    return {weight, bias, top, integer()};
  }

 private:
  int next() {
    if (at_ >= static_cast<int>(t_.size())) throw std::invalid_argument("arguments: too few");
    return at_++;
  }

  const py::tuple& t_;
  int at_ = 0;
};

inline ChannelNorm channel_norm_of(const py::tuple& t) {
  Reader r(t);
  ChannelNorm a;
  a.extent = r.extent();
  a.x = r.planes();
  a.y = r.planes();
  a.gain = r.pointer<const float>();
  a.gain_stride = r.integer();
  a.offset = r.pointer<const float>();
  a.offset_stride = r.integer();
  a.centred = r.integer() != 0;
  a.eps = r.number();
  return a;
}

inline ChannelNormBackward channel_norm_backward_of(const py::tuple& t) {
  Reader r(t);
  ChannelNormBackward a;
  a.extent = r.extent();
  a.x = r.planes();
  a.grad = r.planes();
  a.dx = r.planes();
  a.gain = r.pointer<const float>();
  a.gain_stride = r.integer();
  a.partial = r.pointer<float>();
  a.tile = r.integer();
  a.centred = r.integer() != 0;
  a.eps = r.number();
  return a;
}

inline GatedDepthwise gated_depthwise_of(const py::tuple& t) {
  Reader r(t);
  GatedDepthwise a;
  a.extent = r.extent();
  a.x = r.planes();
  a.y = r.planes();
  a.depthwise = r.depthwise();
  return a;
}

inline GatedDepthwiseBackward gated_depthwise_backward_of(const py::tuple& t) {
  Reader r(t);
  GatedDepthwiseBackward a;
  a.extent = r.extent();
  a.x = r.planes();
  a.grad = r.planes();
  a.dx = r.planes();
  a.depthwise = r.depthwise();
  a.partial = r.pointer<float>();
  a.band = r.integer();
  return a;
}

inline DepthwiseGram depthwise_gram_of(const py::tuple& t) {
  Reader r(t);
  DepthwiseGram a;
  a.extent = r.extent();
  a.x = r.planes();
  a.v = r.planes();
  a.depthwise = r.depthwise();
  a.heads = r.integer();
  a.band = r.integer();
  a.gram = r.pointer<float>();
  a.squares = r.pointer<float>();
  return a;
}

inline AttentionFold attention_fold_of(const py::tuple& t) {
  Reader r(t);
  AttentionFold a;
  a.batch = r.integer();
  a.channels = r.integer();
  a.heads = r.integer();
  a.gram = r.pointer<const float>();
  a.squares = r.pointer<const float>();
  a.temperature = r.pointer<const float>();
  a.projection = r.pointer<const float>();
  a.share = r.pointer<float>();
  a.folded = r.pointer<float>();
  return a;
}

}  // namespace ddrm_fast
