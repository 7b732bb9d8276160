// The CPU kernels: arguments, and one table of functions for each instruction set.
#pragma once

#include <cstdint>

#include "ddrm_fast/philox.h"
#include "ddrm_fast/row.h"
#include "ddrm_fast/shapes.h"

namespace ddrm_fast {

// What every step shares. The state is float32 (B, C, H, W); for spectra, complex64 stored as
// pairs.
struct StepArguments {
  Extent extent;
  float* x_next;
  float* x0;         // or null: not wanted
  const float* x_t;  // or null: initial state, x0 = eps = 0
  NetworkOutput out;
  FloatField u;  // data null: nothing is measured, every s counts as 0; known_step: clean pixels
  FloatField s;
  const Row* rows;     // the rows of this step, one or one for each image
  int64_t row_stride;  // 0 or 1
  int64_t iteration;   // index of the step: the noise counter
  const NoiseKey* keys;
  const float* noise;  // or null: made inside
  int threads;
};

// Groups of r x r pixels of one channel, or of all channels if weights are given.
struct BlockProfile {
  const float* weights;  // [C] or null
  FloatField mask;       // data null: no mask
  int64_t factor;
};

struct NormalArguments {
  Extent extent;
  float* z;
  const NoiseKey* keys;
  int64_t iteration, stream;
  int threads;
};

struct PredictArguments {
  Extent extent;
  float* x0;
  const float* x_t;
  NetworkOutput out;
  const Row* rows;
  int64_t row_stride;
  int threads;
};

// x (B, C, H, W) and c (B, G, H / r, W / r): block_measure writes c, block_lift writes x.
struct BlockArguments {
  Extent extent;
  float* x;
  float* c;
  FloatField s;
  BlockProfile profile;
  int threads;
};

struct AliasArguments {
  FloatField kernel;  // complex64 as pairs
  int64_t factor;
  int64_t width;  // of the picture
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
};

#define DDRM_DECLARE_KERNELS(ISA)                                                   \
  namespace ISA {                                                                   \
  void normal(const NormalArguments&);                                              \
  void pointwise_step(const StepArguments&);                                        \
  void block_step(const StepArguments&, const BlockProfile&);                       \
  void spectral_step(const StepArguments&, int64_t width);                          \
  void alias_step(const StepArguments&, const AliasArguments&);                     \
  void known_step(const StepArguments&, const MaskField&);                          \
  void block_measure(const BlockArguments&);                                        \
  void block_lift(const BlockArguments&);                                           \
  void fwht(float* y, const float* x, int64_t planes, int64_t length, int threads); \
  void predict_x0(const PredictArguments&);                                         \
  }
DDRM_DECLARE_KERNELS(portable)
DDRM_DECLARE_KERNELS(avx2)
DDRM_DECLARE_KERNELS(avx512)
#undef DDRM_DECLARE_KERNELS

// The kernels in use: those of the last set_isa, else the best that this processor runs.
const Kernels& kernels();
// Null where the name is unknown or this processor cannot run it.
const Kernels* find_isa(const char* name);
bool set_isa(const char* name);
// Best last; returns how many of at most 3 names were written.
int available_isas(const char* names[3]);

}  // namespace ddrm_fast
