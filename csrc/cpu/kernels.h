// The CPU kernels: arguments, and one table of functions for each instruction set.
#pragma once

#include <cstdint>

#include "ddrm_fast/arguments.h"
#include "ddrm_fast/channels.h"
#include "ddrm_fast/dct.h"
#include "ddrm_fast/row.h"

namespace ddrm_fast {

struct StepArguments : StepFields {
  const Row* rows;     // the rows of this step, one or one for each image
  int64_t row_stride;  // 0 or 1
  int64_t iteration;   // index of the step: the noise counter
  int threads;
};

struct NormalArguments : NormalFields {
  int threads;
};

struct PredictArguments : PredictFields {
  const Row* rows;
  int64_t row_stride;
  int threads;
};

struct BlockArguments : BlockFields {
  int threads;
};

// Of networks: arguments with a number of threads.
template <class T>
struct Threaded : T {
  int threads;
};

struct Kernels {
  const char* name;
  void (*normal)(const NormalArguments&);
  void (*pointwise_step)(const StepArguments&);
  void (*block_step)(const StepArguments&, const BlockProfile&);
  void (*spectral_step)(const StepArguments&, int64_t width);
  void (*alias_step)(const StepArguments&, const AliasArguments&);
  void (*known_step)(const StepArguments&, const MaskField&);
  void (*block_measure)(const BlockArguments&);
  void (*block_lift)(const BlockArguments&);
  void (*fwht)(float* y, const float* x, int64_t planes, int64_t length, int threads);
  void (*predict_x0)(const PredictArguments&);
  void (*dct_fold)(float* to, const float* from, const DctExtent&, int threads);
  void (*dct_unfold)(float* to, const float* from, const DctExtent&, int threads);
  void (*dct_twist)(float* y, const float* spectrum, const DctTwiddles&, const DctExtent&,
                    int threads);
  void (*dct_untwist)(float* spectrum, const float* y, const DctTwiddles&, const DctExtent&,
                      int threads);
  void (*channel_norm)(const Threaded<ChannelNorm>&);
  void (*channel_norm_backward)(const Threaded<ChannelNormBackward>&);
  void (*gated_depthwise)(const Threaded<GatedDepthwise>&);
  void (*gated_depthwise_backward)(const Threaded<GatedDepthwiseBackward>&);
  void (*depthwise_gram)(const Threaded<DepthwiseGram>&);
  void (*attention_fold)(const Threaded<AttentionFold>&);
};

#define DDRM_DECLARE_KERNELS(ISA)                                                         \
  namespace ISA {                                                                         \
  void normal(const NormalArguments&);                                                    \
  void pointwise_step(const StepArguments&);                                              \
  void block_step(const StepArguments&, const BlockProfile&);                             \
  void spectral_step(const StepArguments&, int64_t width);                                \
  void alias_step(const StepArguments&, const AliasArguments&);                           \
  void known_step(const StepArguments&, const MaskField&);                                \
  void block_measure(const BlockArguments&);                                              \
  void block_lift(const BlockArguments&);                                                 \
  void fwht(float* y, const float* x, int64_t planes, int64_t length, int threads);       \
  void predict_x0(const PredictArguments&);                                               \
  void dct_fold(float* to, const float* from, const DctExtent&, int threads);             \
  void dct_unfold(float* to, const float* from, const DctExtent&, int threads);           \
  void dct_twist(float* y, const float* spectrum, const DctTwiddles&, const DctExtent&,   \
                 int threads);                                                            \
  void dct_untwist(float* spectrum, const float* y, const DctTwiddles&, const DctExtent&, \
                   int threads);                                                          \
  void channel_norm(const Threaded<ChannelNorm>&);                                        \
  void channel_norm_backward(const Threaded<ChannelNormBackward>&);                       \
  void gated_depthwise(const Threaded<GatedDepthwise>&);                                  \
  void gated_depthwise_backward(const Threaded<GatedDepthwiseBackward>&);                 \
  void depthwise_gram(const Threaded<DepthwiseGram>&);                                    \
  void attention_fold(const Threaded<AttentionFold>&);                                    \
  }
DDRM_DECLARE_KERNELS(portable)
DDRM_DECLARE_KERNELS(avx2)
DDRM_DECLARE_KERNELS(avx512)
DDRM_DECLARE_KERNELS(neon)
#undef DDRM_DECLARE_KERNELS

// The kernels in use: those of the last set_isa, else the best that this processor runs.
const Kernels& kernels();
// Null where the name is unknown or this processor cannot run it.
const Kernels* find_isa(const char* name);
bool set_isa(const char* name);
// Best last; returns how many of at most 3 names were written.
int available_isas(const char* names[3]);

}  // namespace ddrm_fast
