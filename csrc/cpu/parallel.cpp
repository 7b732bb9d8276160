#include "parallel.h"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <new>
#include <system_error>
#include <thread>

#include <dlfcn.h>
#include <pthread.h>

namespace ddrm_fast {
namespace {

struct Job {
  TaskFunction function;
  const void* context;
  int64_t tasks;
  std::atomic<int64_t> next{0};

  // Returns how many tasks this thread has done.
  int64_t work() {
    for (int64_t done = 0;; ++done) {
      const int64_t task = next.fetch_add(1, std::memory_order_relaxed);
      if (task >= tasks) return done;
      function(context, task);
    }
  }
};

inline void pause_briefly() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ __volatile__("yield");
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
std::atomic<bool> forked{false};

// The child of a fork has neither the pool's workers nor the team's.
void watch_forks() {
  static std::once_flag registered;
  std::call_once(registered, [] {
    pthread_atfork(nullptr, nullptr, [] {
      shared_pool.store(nullptr);
      forked.store(true);
    });
  });
}

// Never destroyed: its threads sleep in it when the process ends.
Pool& pool() {
  Pool* current = shared_pool.load(std::memory_order_acquire);
  if (current != nullptr) return *current;
  Pool* made = new Pool;
  if (!shared_pool.compare_exchange_strong(current, made)) {
    delete made;
    return *current;
  }
  return *made;
}

int64_t now() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

// The OpenMP runtime that the process has loaded, by the entry point that GCC's compiled code
// calls; LLVM's and Intel's runtimes have it too. Not linked: a second runtime would bring a second
// team.
class Team {
 public:
  Team() : parallel_(reinterpret_cast<Parallel>(dlsym(RTLD_DEFAULT, "GOMP_parallel"))) {}

  // False if there is no team, or if it was late not long ago.
  bool run(Job& job, int threads) {
    if (parallel_ == nullptr || forked.load(std::memory_order_relaxed)) return false;
    const int64_t start = now();
    if (start < avoid_until_.load(std::memory_order_relaxed)) return false;
    Shared shared{&job, pthread_self(), 0, 0};
    parallel_(&Team::work, &shared, static_cast<unsigned>(threads), 0);
    const int64_t waited = now() - shared.finished;
    const int64_t task = (shared.finished - start) / (shared.done > 0 ? shared.done : 1);
    if (waited > kLate + 2 * task) {
      avoid_until_.store(start + waited + pause_.load());
      pause_.store(pause_ * 2 < kLongestPause ? pause_ * 2 : kLongestPause);
    } else {
      pause_.store(kFirstPause);
    }
    return true;
  }

 private:
  using Parallel = void (*)(void (*function)(void*), void* data, unsigned threads, unsigned flags);

  struct Shared {
    Job* job;
    pthread_t caller;
    int64_t finished, done;
  };

  static void work(void* data) {
    Shared& shared = *static_cast<Shared*>(data);
    const int64_t done = shared.job->work();
    if (!pthread_equal(pthread_self(), shared.caller)) return;
    shared.finished = now();
    shared.done = done;
  }

  static constexpr int64_t kLate = 500'000;  // nanoseconds
  static constexpr int64_t kFirstPause = 20'000'000, kLongestPause = 1'000'000'000;

  Parallel parallel_;
  std::atomic<int64_t> avoid_until_{0}, pause_{kFirstPause};
};

struct Scratch {
  float* data = nullptr;
  int64_t floats = 0;
  ~Scratch() { std::free(data); }
};

}  // namespace

void run_tasks(int64_t tasks, int threads, TaskFunction function, const void* context) {
  Job job{function, context, tasks};
  const int used = static_cast<int>(threads < tasks ? threads : tasks);
  if (used > 1) {
    static Team team;
    watch_forks();
    if (team.run(job, used) || pool().run(job, used - 1)) return;
  }
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
