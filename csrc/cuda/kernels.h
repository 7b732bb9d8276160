// The CUDA kernels: arguments and launchers. Pointers are to memory of the device that the place
// names; the row table, the step and the keys are read there by the kernels, so that the host never
// waits for one of them and a captured graph can be replayed with other numbers in them.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "ddrm_fast/philox.h"
#include "ddrm_fast/row.h"
#include "ddrm_fast/shapes.h"

namespace ddrm_fast::cuda {

// Where a kernel runs.
struct Place {
  int device;
  cudaStream_t stream;
};

// The row table [steps, batch, 33] and the index of this step's row.
struct RowTable {
  const Row* rows;
  int64_t steps;
  int64_t batch;  // 1, or one row for each image
  const int64_t* step;
};

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
  RowTable table;
  const NoiseKey* keys;
  const float* noise;  // or null: made inside
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
};

struct PredictArguments {
  Extent extent;
  float* x0;
  const float* x_t;
  NetworkOutput out;
  RowTable table;
};

// x (B, C, H, W) and c (B, G, H / r, W / r): block_measure writes c, block_lift writes x.
struct BlockArguments {
  Extent extent;
  float* x;
  float* c;
  FloatField s;
  BlockProfile profile;
};

struct AliasArguments {
  FloatField kernel;  // complex64 as pairs
  int64_t factor;
  int64_t width;  // of the picture
};

// Planes of height x width real numbers; half spectra have width / 2 + 1 columns.
struct DctExtent {
  int64_t planes, height, width;
};

// Complex factors of both axes, for 0 to half the side.
struct DctTwiddles {
  const float* vertical;
  const float* horizontal;
};

void normal(const NormalArguments&, const Place&);
void pointwise_step(const StepArguments&, const Place&);
void block_step(const StepArguments&, const BlockProfile&, const Place&);
void spectral_step(const StepArguments&, int64_t width, const Place&);
void alias_step(const StepArguments&, const AliasArguments&, const Place&);
void known_step(const StepArguments&, const MaskField&, const Place&);
void block_measure(const BlockArguments&, const Place&);
void block_lift(const BlockArguments&, const Place&);
void fwht(float* y, const float* x, int64_t planes, int64_t length, const Place&);
void predict_x0(const PredictArguments&, const Place&);
void dct_fold(float* to, const float* from, const DctExtent&, const Place&);
void dct_unfold(float* to, const float* from, const DctExtent&, const Place&);
void dct_twist(float* y, const float* spectrum, const DctTwiddles&, const DctExtent&, const Place&);
void dct_untwist(float* spectrum, const float* y, const DctTwiddles&, const DctExtent&,
                 const Place&);

}  // namespace ddrm_fast::cuda
