// Kernels with the mistakes that running on the processor has to show; see test_cuda_host.py.
#include <exception>

#include "launch.h"

namespace ddrm_fast::cuda {
namespace {

// Thread i takes what thread i + distance left in shared memory, with or without a barrier between.
__global__ void neighbour(float* y, int distance, bool barrier) {
  float* shared = shared_memory<float>();
  shared[threadIdx.x] = static_cast<float>(threadIdx.x);
  if (barrier) __syncthreads();
  y[blockIdx.x * blockDim.x + threadIdx.x] = shared[(threadIdx.x + distance) % blockDim.x];
}

__global__ void beyond_shared() { shared_memory<float>()[blockDim.x] = 1.0f; }

__global__ void some_return_early() {
  if (threadIdx.x < 3) return;
  __syncthreads();
}

__global__ void lanes_return_early(float* y) {
  if (threadIdx.x == 40) return;
  y[threadIdx.x] = __shfl_xor_sync(0xFFFFFFFFu, 1.0f, 1);
}

__global__ void misaligned(float* y) { *reinterpret_cast<float4*>(y) = make_float4(1, 2, 3, 4); }

}  // namespace

// Runs one of them; 0: it ran, 1: an error was seen.
extern "C" __attribute__((visibility("default"))) int run_fault(int kind, float* y, int distance) {
  const Place place{0, nullptr};
  LaunchShape shape{dim3(2), 64, 64 * sizeof(float)};
  try {
    if (kind == 0) launch("neighbour", neighbour, shape, place, y, distance, true);
    if (kind == 1) launch("neighbour", neighbour, shape, place, y, distance, false);
    if (kind == 2) launch("beyond_shared", beyond_shared, shape, place);
    if (kind == 3) launch("some_return_early", some_return_early, shape, place);
    if (kind == 4) launch("lanes_return_early", lanes_return_early, shape, place, y);
    if (kind == 6) launch("misaligned", misaligned, shape, place, y + distance);
    shape.grid = dim3(0);
    if (kind == 5) launch("no blocks", beyond_shared, shape, place);
  } catch (const std::exception&) {
    return 1;
  }
  return 0;
}

}  // namespace ddrm_fast::cuda
