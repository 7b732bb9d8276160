// Chooses the instruction set at run time.
#include <atomic>
#include <cstring>

#include "kernels.h"

namespace ddrm_fast {
namespace {

#define DDRM_KERNEL_TABLE(ISA)                                                                    \
  Kernels {                                                                                       \
    #ISA, ISA::normal, ISA::pointwise_step, ISA::block_step, ISA::spectral_step, ISA::alias_step, \
        ISA::known_step, ISA::block_measure, ISA::block_lift, ISA::fwht, ISA::predict_x0,         \
        ISA::dct_fold, ISA::dct_unfold, ISA::dct_twist, ISA::dct_untwist, ISA::channel_norm,      \
        ISA::channel_norm_backward, ISA::gated_depthwise, ISA::gated_depthwise_backward,          \
        ISA::depthwise_gram, ISA::attention_fold                                                  \
  }

// Every 64-bit ARM processor has NEON: the portable kernels would be the same there.
const Kernels kTables[] = {
#if defined(DDRM_FAST_HAS_neon)
    DDRM_KERNEL_TABLE(neon),
#endif
#if defined(DDRM_FAST_HAS_portable)
    DDRM_KERNEL_TABLE(portable),
#endif
#if defined(DDRM_FAST_HAS_avx2)
    DDRM_KERNEL_TABLE(avx2),
#endif
#if defined(DDRM_FAST_HAS_avx512)
    DDRM_KERNEL_TABLE(avx512),
#endif
};

bool supported(const char* name) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("f16c");
  if (std::strcmp(name, "avx2") == 0) return avx2;
  if (std::strcmp(name, "avx512") == 0) {
    return avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
  }
#endif
  return std::strcmp(name, "portable") == 0 || std::strcmp(name, "neon") == 0;
}

std::atomic<const Kernels*> current{nullptr};

}  // namespace

const Kernels* find_isa(const char* name) {
  for (const Kernels& table : kTables) {
    if (std::strcmp(table.name, name) == 0 && supported(name)) return &table;
  }
  return nullptr;
}

int available_isas(const char* names[3]) {
  int count = 0;
  for (const Kernels& table : kTables) {
    if (supported(table.name)) names[count++] = table.name;
  }
  return count;
}

bool set_isa(const char* name) {
  const Kernels* found = find_isa(name);
  if (found != nullptr) current.store(found);
  return found != nullptr;
}

const Kernels& kernels() {
  const Kernels* table = current.load(std::memory_order_relaxed);
  if (table == nullptr) {
    const char* names[3];
    table = find_isa(names[available_isas(names) - 1]);
    current.store(table);
  }
  return *table;
}

}  // namespace ddrm_fast
