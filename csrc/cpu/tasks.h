// Splits a kernel's work into tasks; compiled once for each instruction set.
#pragma once

#include "parallel.h"
#include "simd.h"

namespace ddrm_fast::DDRM_FAST_ISA {

// Floats of one task: a few tasks for each thread, to share out evenly, but long runs of memory,
// which the processor reads ahead.
constexpr int64_t kLeastTask = 16384;
constexpr int64_t kMostTask = 262144;
constexpr int64_t kTasksPerThread = 8;

DDRM_INLINE int64_t task_floats(int64_t floats, int threads) {
  const int64_t share = floats / (kTasksPerThread * (threads < 1 ? 1 : threads));
  return share < kLeastTask ? kLeastTask : share > kMostTask ? kMostTask : share;
}

// Below this many floats one thread is faster than waking a second one.
constexpr int64_t kSerialFloats = 32768;

template <class Function>
static inline void parallel(int64_t tasks, int64_t floats, int threads, const Function& function) {
  run_tasks(
      tasks, floats < kSerialFloats ? 1 : threads,
      [](const void* context, int64_t task) { (*static_cast<const Function*>(context))(task); },
      &function);
}

// Bands of whole rows of every plane: function(b, c, first row, end row). The channels of a band
// come one after the other, so that what they share (masks) is still in a cache.
template <class Function>
static inline void for_bands(const Extent& extent, int threads, const Function& function) {
  const int64_t floats = extent.batch * extent.channels * extent.height * extent.width;
  int64_t rows = task_floats(floats, threads) / (extent.width > 0 ? extent.width : 1);
  rows = rows < 1 ? 1 : rows;
  const int64_t bands = (extent.height + rows - 1) / rows;
  parallel(extent.batch * bands * extent.channels, floats, threads, [&](int64_t task) {
    const int64_t c = task % extent.channels, band = task / extent.channels;
    const int64_t first = band % bands * rows;
    const int64_t end = first + rows < extent.height ? first + rows : extent.height;
    function(band / bands, c, first, end);
  });
}

}  // namespace ddrm_fast::DDRM_FAST_ISA
