#include "fwht_pass.h"
#include "step_common.h"

namespace ddrm_fast::cuda {
namespace {

// A network's output as planes of 2^bits pixels: any batch and channel stride, any type.
struct OutputPlanes {
  NetworkOutput out;
  int64_t channels;
  int bits;

  template <Access kAccess>
  __device__ __forceinline__ Quad load(int64_t start, int64_t offset) const {
    const Split plane = split(start >> bits, channels);
    const int64_t inside = start & ((int64_t{1} << bits) - 1);
    return to_float(load_output<kAccess>(out, plane.quotient, plane.remainder, inside + offset, 4),
                    out.type);
  }
};

// The results are coefficients of the network's output, and the step is taken with them. The
// permutation of compressive sensing is the place of u and s: no number moves for it.
struct Step {
  StepArguments a;
  float scale;
  int bits, width_bits;
  static constexpr bool kOneByOne = true;

  struct Fetched {
    Quad x_t;
    Measured measured;
  };

  template <Access kAccess>
  __device__ __forceinline__ Fetched fetch(int64_t at) const {
    const PlaneIndex plane = plane_index(at >> bits, a.extent.channels);
    const int64_t inside = at & ((int64_t{1} << bits) - 1);
    return {load_quad<kAccess>(a.x_t + at),
            load_measured<kAccess>(a, plane.b, plane.c, inside >> width_bits,
                                   inside & (a.extent.width - 1), 4)};
  }

  template <Access kAccess>
  __device__ __forceinline__ void store(int64_t at, Quad out, const Fetched& fetched) const {
    const PlaneIndex plane = plane_index(at >> bits, a.extent.channels);
    const int64_t inside = at & ((int64_t{1} << bits) - 1);
    const int64_t h = inside >> width_bits, w = inside & (a.extent.width - 1);
    const Row* row = row_of_image(a.table, plane.b);
    if (row == nullptr) return store_quad<kAccess>(a.x_next + at, nan_quad());
    const bool noisy = draws_noise(*row);
    Quad z{};
    if (noisy) z = step_noise<kAccess>(a, plane.b, plane.c, h, w, at - inside, 4);
#pragma unroll
    for (int i = 0; i < 4; ++i) out.v[i] = out.v[i] * scale;
    const QuadPrediction p = predict_quad(*row, clips(*row), fetched.x_t, out);
    update_quad<kAccess>(a, *row, p, fetched.measured, noisy, z, at, 4);
  }
};

}  // namespace

// One affine step on Walsh-Hadamard coefficients, in the last pass of the transform of the
// network's output:
//   x_next = a(s) x0 + b(s) eps + c(s) u + d(s) z,  x0 and eps predicted from x_t and fwht(out)
// x_t, x_next, z (B, C, H, W) coefficients, H W = 2^m >= 32, W >= 4; u (B or 1, C, H, W); s: each
// dimension full or 1; out (B, C, H, W) pixels, planes contiguous. x_next may be x_t.
//
// Moves 4 bytes a pixel for each of out, x_t, u and x_next, and s where it is not broadcast; for
// each pass but the last, 8 more. A transform and a step apart move 8 bytes more.
void fwht_step(const StepArguments& a, float* scratch, const Place& place) {
  const Extent& e = a.extent;
  const int bits = log2_of(e.height * e.width);
  const int64_t numbers = e.batch * e.channels * e.height * e.width;
  const OutputPlanes pixels{a.out, e.channels, bits};
  const Step step{a, fwht_scale(e.height * e.width), bits, log2_of(e.width)};
  const bool wide = wide_planes(a) && wide_field(a.u) && wide_field(a.s) && aligned(scratch, 16);
  if (bits <= kFirstBits) {
    return run_pass<true>(bits - kColumnBits, pixels, step, numbers, 0, wide, place);
  }
  launch_pass<kMostFirst, kMostSecond, true>(pixels, Scaled{scratch, 1.0f}, numbers, 0, wide,
                                             place);
  int done = kFirstBits;
  for (;;) {
    const int now = next_row_bits(bits - done);
    if (done + now == bits) {
      return run_pass<false>(now, Numbers{scratch}, step, numbers, done, wide, place);
    }
    run_pass<false>(now, Numbers{scratch}, Scaled{scratch, 1.0f}, numbers, done, wide, place);
    done += now;
  }
}

}  // namespace ddrm_fast::cuda
