// CUDA on the processor, for tests: in place of the toolkit's header, so that g++ compiles the very
// .cu files of csrc/cuda and they run without a GPU. Only what those files use.
//
// A block's threads are fibres of one thread; they switch at __syncthreads() and at warp shuffles
// (blocks.cpp). The fibres of every second block run in reverse, so that a missing barrier shows
// whichever way the numbers flow. Shared memory starts as NaN in each block and has guards behind
// its end; waiting for a thread that has already returned is an error. A vector access to an
// address that is no multiple of its size ends the process (build.py), as it ends a kernel on a
// GPU.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <type_traits>

#define __global__
#define __device__
#define __host__
#define __shared__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __grid_constant__
#define __align__(bytes) __attribute__((aligned(bytes)))

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(8) uint2 {
  unsigned x, y;
};
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

struct CUstream_st;
using cudaStream_t = CUstream_st*;

enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorInvalidConfiguration = 9,
  cudaErrorInsufficientDriver = 35,
  cudaErrorNoKernelImageForDevice = 209,
};

struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  size_t dynamicSmemBytes;
  cudaStream_t stream;
};

inline const char* cudaGetErrorString(cudaError_t status) {
  return status == cudaErrorInvalidConfiguration ? "invalid configuration" : "error on the host";
}
inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline cudaError_t cudaGetDevice(int* device) { return *device = 0, cudaSuccess; }
inline cudaError_t cudaSetDevice(int) { return cudaSuccess; }
inline cudaError_t cudaDriverGetVersion(int* version) { return *version = 1, cudaSuccess; }
inline cudaError_t cudaRuntimeGetVersion(int* version) { return *version = 0, cudaSuccess; }
inline cudaError_t cudaGetDeviceCount(int* count) { return *count = 1, cudaSuccess; }

namespace cuda_host {

constexpr unsigned kWarp = 32;
constexpr unsigned kMostThreads = 1024;
constexpr size_t kMostShared = 48 * 1024;

struct Index {
  unsigned x, y, z;
};

// Runs the kernel for every thread of every block.
void run(const cudaLaunchConfig_t& config, const std::function<void()>& kernel);
void wait_for_block();
// The bits that lane `lane ^ mask` of this warp gave.
uint32_t exchange(uint32_t bits, int mask);

}  // namespace cuda_host

// Of the fibre that runs.
extern cuda_host::Index threadIdx, blockIdx;
extern dim3 gridDim, blockDim;

inline void __syncthreads() { cuda_host::wait_for_block(); }

inline float __shfl_xor_sync(unsigned, float value, int mask) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  bits = cuda_host::exchange(bits, mask);
  std::memcpy(&value, &bits, sizeof(bits));
  return value;
}

template <class... Parameters, class... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               const Arguments&... arguments) {
  const dim3 &grid = config->gridDim, &threads = config->blockDim;
  const size_t count = static_cast<size_t>(threads.x) * threads.y * threads.z;
  if (grid.x == 0 || grid.y == 0 || grid.x > 0x7FFFFFFFu || grid.y > 65535 || grid.z != 1 ||
      threads.y != 1 || threads.z != 1 || count == 0 || count > cuda_host::kMostThreads ||
      config->dynamicSmemBytes > cuda_host::kMostShared) {
    return cudaErrorInvalidConfiguration;
  }
  cuda_host::run(*config, [&] { kernel(arguments...); });
  return cudaSuccess;
}
