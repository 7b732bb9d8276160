#include "parallel.h"

#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <new>
#include <thread>

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif

namespace ddrm_fast {
namespace {

struct Job {
  TaskFunction function;
  const void* context;
  int64_t tasks;
  std::atomic<int64_t> next{0};

  void work() {
    for (;;) {
      const int64_t task = next.fetch_add(1, std::memory_order_relaxed);
      if (task >= tasks) return;
      function(context, task);
    }
  }
};

inline void pause_briefly() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

class Pool {
 public:
  // False if another caller has the pool: then this one works alone.
  bool run(Job& job, int helpers) {
    std::unique_lock<std::mutex> entry(entry_, std::try_to_lock);
    if (!entry.owns_lock()) return false;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      helpers = grow(helpers);
      job_ = &job;
      open_ = helpers;
    }
    for (int i = 0; i < helpers; ++i) wake_.notify_one();
    job.work();
    close();
    return true;
  }

 private:
  int grow(int wanted) {
    try {
      while (workers_ < wanted) {
        std::thread([this] { serve(); }).detach();
        ++workers_;
      }
    } catch (const std::system_error&) {
      return workers_;
    }
    return wanted;
  }

  void serve() {
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      wake_.wait(lock, [this] { return open_ > 0; });
      --open_;
      active_.fetch_add(1, std::memory_order_relaxed);
      Job* job = job_;
      lock.unlock();
      job->work();
      lock.lock();
      if (active_.fetch_sub(1, std::memory_order_release) == 1) done_.notify_one();
    }
  }

  // No worker can join any more; those inside a task finish it. They are mostly about to: a short
  // spin costs less than a sleep.
  void close() {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      open_ = 0;
      job_ = nullptr;
    }
    for (int i = 0; i < kSpins; ++i) {
      if (active_.load(std::memory_order_acquire) == 0) return;
      pause_briefly();
    }
    std::unique_lock<std::mutex> lock(mutex_);
    done_.wait(lock, [this] { return active_.load(std::memory_order_acquire) == 0; });
  }

  static constexpr int kSpins = 2000;

  std::mutex entry_;
  std::mutex mutex_;
  std::condition_variable wake_, done_;
  Job* job_ = nullptr;
  int open_ = 0;
  int workers_ = 0;
  std::atomic<int> active_{0};
};

std::atomic<Pool*> shared_pool{nullptr};

// Never destroyed: its threads sleep in it when the process ends. After a fork the child has no
// workers and makes a pool of its own.
Pool& pool() {
  Pool* current = shared_pool.load(std::memory_order_acquire);
  if (current != nullptr) return *current;
  Pool* made = new Pool;
  if (!shared_pool.compare_exchange_strong(current, made)) {
    delete made;
    return *current;
  }
#if defined(__unix__) || defined(__APPLE__)
  static std::once_flag registered;
  std::call_once(registered,
                 [] { pthread_atfork(nullptr, nullptr, [] { shared_pool.store(nullptr); }); });
#endif
  return *made;
}

struct Scratch {
  float* data = nullptr;
  int64_t floats = 0;
  ~Scratch() { std::free(data); }
};

}  // namespace

void run_tasks(int64_t tasks, int threads, TaskFunction function, const void* context) {
  Job job{function, context, tasks};
  const int64_t helpers = (threads < tasks ? threads : tasks) - 1;
  if (helpers > 0 && pool().run(job, static_cast<int>(helpers))) return;
  job.work();
}

float* thread_scratch(int64_t floats) {
  thread_local Scratch scratch;
  if (scratch.floats < floats) {
    std::free(scratch.data);
    scratch.data = nullptr;
    scratch.floats = 0;
    void* memory = nullptr;
    const auto bytes = (static_cast<std::size_t>(floats) * sizeof(float) + 127) / 64 * 64;
    if (posix_memalign(&memory, 64, bytes) != 0) throw std::bad_alloc();
    scratch.data = static_cast<float*>(memory);
    scratch.floats = floats;
  }
  return scratch.data;
}

}  // namespace ddrm_fast
