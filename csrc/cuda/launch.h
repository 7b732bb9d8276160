// Launches on a place, and what went wrong as an exception.
#pragma once

#include <cuda_runtime.h>

#include <stdexcept>
#include <string>

#include "kernels.h"

namespace ddrm_fast::cuda {

inline void check(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // it is reported here, not once more by the next call
  std::string message = std::string(what) + ": " + cudaGetErrorString(status);
  if (status == cudaErrorNoKernelImageForDevice) {
    message +=
        "; this build has no kernels for this GPU: add its compute capability to "
        "DDRM_FAST_CUDA_ARCHITECTURES and build again";
  }
  throw std::runtime_error(message);
}

// The device of a place for one scope; the caller's own comes back afterwards.
class DeviceScope {
 public:
  explicit DeviceScope(int device) : device_(device) {
    check(cudaGetDevice(&before_), "current device");
    if (device_ != before_) check(cudaSetDevice(device_), "device");
  }
  ~DeviceScope() {
    if (device_ != before_) cudaSetDevice(before_);
  }
  DeviceScope(const DeviceScope&) = delete;
  DeviceScope& operator=(const DeviceScope&) = delete;

 private:
  int device_, before_ = 0;
};

struct LaunchShape {
  dim3 grid;
  unsigned threads;
  size_t shared_bytes = 0;
};

// The shared memory of a block, as many bytes as the launch asked for.
template <class T>
__device__ T* shared_memory() {
  extern __shared__ __align__(16) unsigned char block_memory[];
  return reinterpret_cast<T*>(block_memory);
}

template <class... Parameters, class... Arguments>
void launch(const char* name, void (*kernel)(Parameters...), const LaunchShape& shape,
            const Place& place, const Arguments&... arguments) {
  const DeviceScope scope(place.device);
  cudaLaunchConfig_t config{};
  config.gridDim = shape.grid;
  config.blockDim = dim3(shape.threads);
  config.dynamicSmemBytes = shape.shared_bytes;
  config.stream = place.stream;
  check(cudaLaunchKernelEx(&config, kernel, arguments...), name);
}

constexpr unsigned kThreads = 256;
constexpr int64_t kMostPlanes = 65535;  // in the grid's y; kernels go on from there

// One thread for each of `items` in every plane.
inline LaunchShape over_planes(int64_t items, int64_t planes, unsigned threads = kThreads) {
  const int64_t blocks = (items + threads - 1) / threads;
  const int64_t rows = planes < kMostPlanes ? planes : kMostPlanes;
  return {dim3(static_cast<unsigned>(blocks), static_cast<unsigned>(rows)), threads};
}

}  // namespace ddrm_fast::cuda
