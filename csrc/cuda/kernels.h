// The CUDA kernels: arguments and launchers. Pointers are to memory of the device that the place
// names; the row table, the step and the keys are read there by the kernels, so that the host never
// waits for one of them and a captured graph can be replayed with other numbers in them.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "ddrm_fast/arguments.h"
#include "ddrm_fast/channels.h"
#include "ddrm_fast/dct.h"
#include "ddrm_fast/row.h"

namespace ddrm_fast::cuda {

// Where a kernel runs.
struct Place {
  int device;
  cudaStream_t stream;
};

// The row table [steps, batch, 48] and the index of this step's row.
struct RowTable {
  const Row* rows;
  int64_t steps;
  int64_t batch;  // 1, or one row for each image
  const int64_t* step;
};

struct StepArguments : StepFields {
  RowTable table;
};

struct PredictArguments : PredictFields {
  RowTable table;
};

using NormalArguments = NormalFields;
using BlockArguments = BlockFields;

void normal(const NormalArguments&, const Place&);
void pointwise_step(const StepArguments&, const Place&);
void block_step(const StepArguments&, const BlockProfile&, const Place&);
void spectral_step(const StepArguments&, int64_t width, const Place&);
void alias_step(const StepArguments&, const AliasArguments&, const Place&);
void known_step(const StepArguments&, const MaskField&, const Place&);
void block_measure(const BlockArguments&, const Place&);
void block_lift(const BlockArguments&, const Place&);
void fwht(float* y, const float* x, int64_t planes, int64_t length, const Place&);
// `out` holds pixels here, all else coefficients; scratch: planes for what lies between passes, or
// null where there is one pass.
void fwht_step(const StepArguments&, float* scratch, const Place&);
// Passes over memory for planes of so many numbers.
int fwht_passes(int64_t length);
void predict_x0(const PredictArguments&, const Place&);
void dct_fold(float* to, const float* from, const DctExtent&, const Place&);
void dct_unfold(float* to, const float* from, const DctExtent&, const Place&);
void dct_twist(float* y, const float* spectrum, const DctTwiddles&, const DctExtent&, const Place&);
void dct_untwist(float* spectrum, const float* y, const DctTwiddles&, const DctExtent&,
                 const Place&);

// of networks
void channel_norm(const ChannelNorm&, const Place&);
void channel_norm_backward(const ChannelNormBackward&, const Place&);
void gated_depthwise(const GatedDepthwise&, const Place&);
void gated_depthwise_backward(const GatedDepthwiseBackward&, const Place&);
void depthwise_gram(const DepthwiseGram&, const Place&);
void attention_fold(const AttentionFold&, const Place&);

}  // namespace ddrm_fast::cuda
