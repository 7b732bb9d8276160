// Blocks of CUDA threads as fibres of one thread: see cuda_runtime.h.
#include "cuda_runtime.h"

#include <setjmp.h>
#include <ucontext.h>

#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

cuda_host::Index threadIdx, blockIdx;
dim3 gridDim, blockDim;

namespace ddrm_fast::cuda {
// What shared_memory() of launch.h hands out, with a guard behind it.
alignas(16) unsigned char block_memory[cuda_host::kMostShared + 64];
}  // namespace ddrm_fast::cuda

namespace cuda_host {
namespace {

using ddrm_fast::cuda::block_memory;

enum class State { kReady, kAtBlock, kAtWarp, kDone };

// One CUDA thread. Its stack is used again by the same thread of later blocks.
struct Fibre {
  static constexpr size_t kStack = 64 * 1024;
  std::unique_ptr<char[]> stack;
  ucontext_t start;
  jmp_buf resume;
  bool started = false;
  State state = State::kDone;
  unsigned exchanges = 0;
};

Fibre fibres[kMostThreads];
unsigned current;
jmp_buf scheduler;
const std::function<void()>* body;
// What lanes hand to each other; two sets, since a lane may be one exchange ahead of another.
uint32_t lanes[2][kMostThreads];

// A fibre runs kernels for ever: one for each block.
void fibre_main() {
  for (;;) {
    (*body)();
    Fibre& fibre = fibres[current];
    fibre.state = State::kDone;
    if (_setjmp(fibre.resume) == 0) _longjmp(scheduler, 1);
  }
}

void pause(State state) {
  Fibre& fibre = fibres[current];
  fibre.state = state;
  if (_setjmp(fibre.resume) == 0) _longjmp(scheduler, 1);
}

void go_on(unsigned index) {
  Fibre& fibre = fibres[index];
  current = index;
  threadIdx = {index, 0, 0};
  if (_setjmp(scheduler) != 0) return;
  if (fibre.started) _longjmp(fibre.resume, 1);
  fibre.started = true;
  fibre.stack.reset(new char[Fibre::kStack]);
  getcontext(&fibre.start);
  fibre.start.uc_stack.ss_sp = fibre.stack.get();
  fibre.start.uc_stack.ss_size = Fibre::kStack;
  fibre.start.uc_link = nullptr;
  makecontext(&fibre.start, fibre_main, 0);
  setcontext(&fibre.start);
}

[[noreturn]] void fail(const std::string& what) {
  for (Fibre& fibre : fibres) fibre.started = false;
  throw std::runtime_error("CUDA on the host: " + what + " (thread " + std::to_string(current) +
                           " of block " + std::to_string(blockIdx.x) + ", " +
                           std::to_string(blockIdx.y) + ")");
}

// Lets those go on that wait for threads first to end, if all of them wait in the same place.
bool release(unsigned first, unsigned end, State waiting) {
  unsigned count = 0, done = 0;
  for (unsigned i = first; i < end; ++i) {
    count += fibres[i].state == waiting;
    done += fibres[i].state == State::kDone;
  }
  if (count > 0 && count + done == end - first && done > 0) {
    fail("a barrier waits for threads that have returned");
  }
  if (count != end - first) return false;
  for (unsigned i = first; i < end; ++i) fibres[i].state = State::kReady;
  return true;
}

void run_block(unsigned count, bool reverse) {
  for (unsigned i = 0; i < count; ++i) {
    fibres[i].state = State::kReady;
    fibres[i].exchanges = 0;
  }
  for (;;) {
    bool ran = false, all_done = true;
    for (unsigned i = 0; i < count; ++i) {
      const unsigned index = reverse ? count - 1 - i : i;
      if (fibres[index].state == State::kReady) {
        go_on(index);
        ran = true;
      }
      all_done = all_done && fibres[index].state == State::kDone;
    }
    if (all_done) return;
    bool released = false;
    for (unsigned warp = 0; warp < count; warp += kWarp) {
      const unsigned end = warp + kWarp < count ? warp + kWarp : count;
      released = release(warp, end, State::kAtWarp) || released;
    }
    released = release(0, count, State::kAtBlock) || released;
    if (!ran && !released) fail("threads wait for each other at different barriers");
  }
}

}  // namespace

void wait_for_block() { pause(State::kAtBlock); }

uint32_t exchange(uint32_t bits, int mask) {
  const unsigned thread = current;
  uint32_t* set = lanes[fibres[thread].exchanges++ % 2];
  set[thread] = bits;
  pause(State::kAtWarp);
  return set[(thread / kWarp * kWarp) + ((thread % kWarp) ^ static_cast<unsigned>(mask))];
}

void run(const cudaLaunchConfig_t& config, const std::function<void()>& kernel) {
  constexpr unsigned char kGuard = 0xA5, kNaN = 0xFF;
  body = &kernel;
  gridDim = config.gridDim;
  blockDim = config.blockDim;
  bool reverse = false;
  for (unsigned y = 0; y < gridDim.y; ++y) {
    for (unsigned x = 0; x < gridDim.x; ++x, reverse = !reverse) {
      blockIdx = {x, y, 0};
      std::memset(block_memory, kNaN, config.dynamicSmemBytes);
      std::memset(block_memory + config.dynamicSmemBytes, kGuard, 64);
      run_block(blockDim.x, reverse);
      for (int i = 0; i < 64; ++i) {
        if (block_memory[config.dynamicSmemBytes + i] != kGuard) {
          fail("shared memory is written behind its end");
        }
      }
    }
  }
}

}  // namespace cuda_host
