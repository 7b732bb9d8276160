#include "kernels.h"
#include "tasks.h"

namespace ddrm_fast::DDRM_FAST_ISA {
namespace {

// Levels are done from the lowest bit of the index to the highest, so that every instruction set
// adds the same numbers in the same order.

// Levels of the 32 numbers a, b: five times the constant-geometry stage (even + odd, even - odd).
// Pease, "An adaptation of the fast Fourier transform for parallel processing", JACM 1968.
DDRM_INLINE void transform32(f32x16& a, f32x16& b) {
  for (int stage = 0; stage < 5; ++stage) {
    f32x16 even, odd;
    split_pairs(a, b, even, odd);
    a = even + odd;
    b = even - odd;
  }
}

// One level on kCount vectors: pairs at distance kSpan.
template <int kCount, int kSpan>
DDRM_INLINE void level(f32x16* v) {
#pragma GCC unroll 16
  for (int i = 0; i < kCount; ++i) {
    if ((i & kSpan) == 0) {
      const f32x16 a = v[i], b = v[i + kSpan];
      v[i] = a + b;
      v[i + kSpan] = a - b;
    }
  }
}

template <int kCount>
DDRM_INLINE void levels(f32x16* v) {
  if constexpr (kCount >= 2) level<kCount, 1>(v);
  if constexpr (kCount >= 4) level<kCount, 2>(v);
  if constexpr (kCount >= 8) level<kCount, 4>(v);
  if constexpr (kCount >= 16) level<kCount, 8>(v);
}

// All levels of runs of 32 kPairs numbers.
template <int kPairs>
void transform_runs(float* y, const float* x, int64_t n, f32x16 scale) {
  for (int64_t start = 0; start < n; start += 32 * kPairs) {
    f32x16 v[2 * kPairs];
#pragma GCC unroll 8
    for (int i = 0; i < kPairs; ++i) {
      v[2 * i] = load(x + start + 32 * i);
      v[2 * i + 1] = load(x + start + 32 * i + kLanes);
      transform32(v[2 * i], v[2 * i + 1]);
    }
    if constexpr (kPairs >= 2) level<2 * kPairs, 2>(v);
    if constexpr (kPairs >= 4) level<2 * kPairs, 4>(v);
    if constexpr (kPairs >= 8) level<2 * kPairs, 8>(v);
#pragma GCC unroll 16
    for (int i = 0; i < 2 * kPairs; ++i) store(y + start + kLanes * i, v[i] * scale);
  }
}

// The levels of kCount vectors, read at distance from_stride and written at distance to_stride.
template <int kCount>
DDRM_INLINE void butterfly(float* to, int64_t to_stride, const float* from, int64_t from_stride,
                           f32x16 scale) {
  f32x16 v[kCount];
#pragma GCC unroll 16
  for (int i = 0; i < kCount; ++i) v[i] = load(from + i * from_stride);
  levels<kCount>(v);
#pragma GCC unroll 16
  for (int i = 0; i < kCount; ++i) store(to + i * to_stride, v[i] * scale);
}

// kBits levels of a matrix of rows x columns, from row bit `bit` on; rows of source and target have
// strides of their own. Columns are whole vectors.
template <int kBits>
void row_levels(float* to, int64_t to_stride, const float* from, int64_t from_stride, int64_t rows,
                int64_t columns, int bit, f32x16 scale) {
  constexpr int kCount = 1 << kBits;
  const int64_t span = int64_t{1} << bit;
  for (int64_t block = 0; block < rows; block += span * kCount) {
    for (int64_t row = block; row < block + span; ++row) {
      for (int64_t c = 0; c < columns; c += kLanes) {
        butterfly<kCount>(to + row * to_stride + c, span * to_stride, from + row * from_stride + c,
                          span * from_stride, scale);
      }
    }
  }
}

void row_levels(int bits, float* to, int64_t to_stride, const float* from, int64_t from_stride,
                int64_t rows, int64_t columns, int bit, f32x16 scale) {
  switch (bits) {
    case 1:
      return row_levels<1>(to, to_stride, from, from_stride, rows, columns, bit, scale);
    case 2:
      return row_levels<2>(to, to_stride, from, from_stride, rows, columns, bit, scale);
    case 3:
      return row_levels<3>(to, to_stride, from, from_stride, rows, columns, bit, scale);
    default:
      return row_levels<4>(to, to_stride, from, from_stride, rows, columns, bit, scale);
  }
}

// How `total` levels are shared out over the fewest sweeps of at most four: bits of the next sweep.
int sweep_bits(int total) {
  const int sweeps = (total + 3) / 4;
  return (total + sweeps - 1) / sweeps;
}

constexpr int kRunBits = 8;     // levels in registers
constexpr int kNearBits = 12;   // numbers that stay in the first-level cache: 16 KiB
constexpr int kChunkBits = 16;  // and in the second-level cache: 256 KiB
constexpr int kStripBits = 8;   // levels of one strip of columns
constexpr int64_t kStripFloats = 8192;

// The lowest levels of 2^bits numbers.
void transform_near(float* y, const float* x, int bits, f32x16 scale) {
  const int64_t n = int64_t{1} << bits;
  const f32x16 one(1.0f);
  const f32x16 run_scale = bits <= kRunBits ? scale : one;
  switch (bits < kRunBits ? bits : kRunBits) {
    case 5:
      transform_runs<1>(y, x, n, run_scale);
      break;
    case 6:
      transform_runs<2>(y, x, n, run_scale);
      break;
    case 7:
      transform_runs<4>(y, x, n, run_scale);
      break;
    default:
      transform_runs<8>(y, x, n, run_scale);
  }
  if (bits > kRunBits) {
    constexpr int64_t kRun = 1 << kRunBits;
    row_levels(bits - kRunBits, y, kRun, y, kRun, n / kRun, kRun, 0, scale);
  }
}

void transform_chunk(float* y, const float* x, int bits, f32x16 scale) {
  if (bits <= kNearBits) return transform_near(y, x, bits, scale);
  constexpr int64_t kNear = 1 << kNearBits;
  const int64_t blocks = int64_t{1} << (bits - kNearBits);
  for (int64_t i = 0; i < blocks; ++i) {
    transform_near(y + i * kNear, x + i * kNear, kNearBits, f32x16(1.0f));
  }
  row_levels(bits - kNearBits, y, kNear, y, kNear, blocks, kNear, 0, scale);
}

// `bits` levels over rows at distance `stride`, for one strip of columns: gathered into a
// contiguous buffer by the first sweep and written back by the last one, because rows at distances
// of a power of two compete for the same few cache lines.
void transform_strip(float* y, int64_t stride, int64_t columns, int bits, f32x16 scale) {
  alignas(64) float strip[kStripFloats];
  const int64_t rows = int64_t{1} << bits;
  const f32x16 one(1.0f);
  int bit = 0;
  const float* from = y;
  int64_t from_stride = stride;
  while (bit < bits) {
    const int sweep = sweep_bits(bits - bit);
    const bool last = bit + sweep == bits;
    row_levels(sweep, last ? y : strip, last ? stride : columns, from, from_stride, rows, columns,
               bit, last ? scale : one);
    from = strip;
    from_stride = columns;
    bit += sweep;
  }
}

void transform_small(float* y, const float* x, int64_t n, float scale) {
  float v[16];
  for (int64_t i = 0; i < n; ++i) v[i] = x[i];
  for (int64_t span = 1; span < n; span *= 2) {
    for (int64_t i = 0; i < n; ++i) {
      if ((i & span) == 0) {
        const float a = v[i], b = v[i + span];
        v[i] = a + b;
        v[i + span] = a - b;
      }
    }
  }
  for (int64_t i = 0; i < n; ++i) y[i] = v[i] * scale;
}

int log2_of(int64_t n) {
  int bits = 0;
  while ((int64_t{1} << bits) < n) ++bits;
  return bits;
}

}  // namespace

// y = (H_2 x ... x H_2) x / sqrt(n), H_2 = [[1, 1], [1, -1]]: the orthonormal Walsh-Hadamard
// transform in natural order of each of the planes of n = 2^m numbers. y may be x.
void fwht(float* y, const float* x, int64_t planes, int64_t n, int threads) {
  const int bits = log2_of(n);
  const float scale = static_cast<float>(1.0 / __builtin_sqrt(static_cast<double>(n)));
  if (n < 32) {
    for (int64_t plane = 0; plane < planes; ++plane) {
      transform_small(y + plane * n, x + plane * n, n, scale);
    }
    return;
  }
  int done = bits < kChunkBits ? bits : kChunkBits;
  const int64_t chunk = int64_t{1} << done, chunks = planes * n / chunk;
  const int64_t fitting = task_floats(planes * n, threads) / chunk;
  const int64_t together = fitting > 0 ? fitting : 1;
  parallel((chunks + together - 1) / together, planes * n, threads, [&](int64_t task) {
    const int64_t end = (task + 1) * together < chunks ? (task + 1) * together : chunks;
    for (int64_t i = task * together; i < end; ++i) {
      transform_chunk(y + i * chunk, x + i * chunk, done, f32x16(done == bits ? scale : 1.0f));
    }
  });
  while (done < bits) {
    const int passes = (bits - done + kStripBits - 1) / kStripBits;
    const int now = (bits - done + passes - 1) / passes;
    const int64_t stride = int64_t{1} << done, columns = kStripFloats >> now;
    const int64_t strips = stride / columns;
    const int64_t blocks = planes * (n >> (done + now));
    const bool last = done + now == bits;
    parallel(blocks * strips, planes * n, threads, [&](int64_t task) {
      float* start = y + (task / strips << (done + now)) + task % strips * columns;
      transform_strip(start, stride, columns, now, f32x16(last ? scale : 1.0f));
    });
    done += now;
  }
}

}  // namespace ddrm_fast::DDRM_FAST_ISA
