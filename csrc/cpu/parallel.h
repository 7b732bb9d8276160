// The parallel layer: independent tasks on a few threads.
//
// A small pool of its own instead of OpenMP. The caller works too, and a worker that the operating
// system has not yet scheduled is never waited for: on a busy machine an OpenMP team waits at its
// barrier for a thread that has no core. Which thread runs a task never changes a result.
#pragma once

#include <cstdint>

namespace ddrm_fast {

using TaskFunction = void (*)(const void* context, int64_t task);

// Runs function(context, i) for i = 0 ... tasks - 1 on at most this many threads, the caller's included.
void run_tasks(int64_t tasks, int threads, TaskFunction function, const void* context);

// Memory of at least this many floats that belongs to the calling thread until its next call here.
float* thread_scratch(int64_t floats);

}  // namespace ddrm_fast
