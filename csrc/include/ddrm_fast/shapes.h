// Shapes and broadcast fields, shared by the CPU and GPU kernels.
#pragma once

#include <cstdint>

#if defined(__CUDACC__)
#define DDRM_HD __host__ __device__ __forceinline__
#else
// Always inlined: the same header is compiled for several instruction sets into one library, so no
// copy of a function may be shared between them.
#define DDRM_HD static inline __attribute__((always_inline))
#endif

namespace ddrm_fast {

// A float32 (or interleaved complex64) field with four dimensions, each of them full or broadcast
// (stride 0). Strides count elements.
template <class T>
struct Field {
  const T* data;
  int64_t stride[4];
};

using FloatField = Field<float>;
using MaskField = Field<uint8_t>;  // one byte a pixel, 0 or 1

template <class T>
DDRM_HD const T* row_of(const Field<T>& field, int64_t b, int64_t c, int64_t h) {
  return field.data + b * field.stride[0] + c * field.stride[1] + h * field.stride[2];
}

enum class OutputType : int { kFloat32 = 0, kFloat16 = 1, kBFloat16 = 2 };

// A network's output: any batch and channel stride, planes contiguous.
struct NetworkOutput {
  const void* data;
  OutputType type;
  int64_t batch_stride;
  int64_t channel_stride;
};

struct Extent {
  int64_t batch, channels, height, width;
};

}  // namespace ddrm_fast
