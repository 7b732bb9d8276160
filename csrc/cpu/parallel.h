// The parallel layer: independent tasks on a few threads. Which thread runs a task never changes a
// result.
//
// Tasks run on the OpenMP team that torch has started already, because its threads spin for a while
// after each of torch's operations and would hold the cores against any other thread. Such a team
// waits for its last thread, though, and on a busy machine that thread may have no core for many
// milliseconds. When that happens the team is left alone for a while, and a small pool works
// instead: its caller takes every task that no worker has begun, and waits for tasks, never for
// threads. The pool is also there for processes without an OpenMP runtime.
//
// Measured on two cores, 256 x 256 x 3, median microseconds a call: team 98 (quiet) and 8000 (other
// core busy); pool 193 (quiet, after an operation of torch) and 190 (busy); one thread 180.
#pragma once

#include <cstdint>

namespace ddrm_fast {

using TaskFunction = void (*)(const void* context, int64_t task);

// Runs function(context, i) for i = 0 ... tasks - 1 on at most this many threads, the caller's
// included.
void run_tasks(int64_t tasks, int threads, TaskFunction function, const void* context);

// Memory of at least this many floats that belongs to the calling thread until its next call here.
float* thread_scratch(int64_t floats);

}  // namespace ddrm_fast
