// What the kernels are told, on the processor and on the GPU alike. Each target adds what it needs
// besides: a number of threads, or a table of rows that is read on the device.
#pragma once

#include <cstdint>

#include "philox.h"
#include "shapes.h"

namespace ddrm_fast {

// What every step shares. The state is float32 (B, C, H, W); for spectra, complex64 stored as
// pairs.
struct StepFields {
  Extent extent;
  float* x_next;
  float* x0;         // or null: not wanted
  const float* x_t;  // or null: initial state, x0 = eps = 0
  NetworkOutput out;
  FloatField u;  // data null: nothing is measured, every s counts as 0; known_step: clean pixels
  FloatField s;
  const NoiseKey* keys;
  const float* noise;  // or null: made inside
};

// Groups of r x r pixels of one channel, or of all channels if weights are given.
struct BlockProfile {
  const float* weights;  // [C] or null
  FloatField mask;       // data null: no mask
  int64_t factor;
};

struct NormalFields {
  Extent extent;
  float* z;
  const NoiseKey* keys;
  int64_t iteration, stream;
};

struct PredictFields {
  Extent extent;
  float* x0;
  const float* x_t;
  NetworkOutput out;
};

// x (B, C, H, W) and c (B, G, H / r, W / r): block_measure writes c, block_lift writes x.
struct BlockFields {
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

}  // namespace ddrm_fast
