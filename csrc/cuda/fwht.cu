#include "launch.h"
#include "quad.h"

namespace ddrm_fast::cuda {
namespace {

// A plane of 2^m numbers is transformed in passes over memory. A pass takes tiles of 2^k rows and
// 32 columns through registers and shared memory and does the levels of the k row bits. In the
// first pass a tile is contiguous and its columns are transformed as well: up to 13 levels. Later
// passes take rows that are 2^done numbers apart, 128 bytes of each: up to 8 levels. So 1024 x 1024
// numbers take two passes, and 2^26 take three.
//
// A thread holds four columns of 2^kFirst rows, does their levels in registers, and, where the tile
// has more row bits, exchanges rows with the other threads once.
constexpr int kColumnBits = 5;
constexpr int kTileThreads = 8;  // for the columns of a row
constexpr int kMostFirst = 4, kMostSecond = 4;
constexpr unsigned kBlock = kTileThreads << kMostSecond;
constexpr int kMostRowBits = kMostFirst + kMostSecond;

// One level: pairs of rows at distance `span`.
template <int kCount>
__device__ __forceinline__ void row_level(Quad (&v)[kCount], int span) {
#pragma unroll
  for (int j = 0; j < kCount; ++j) {
    if ((j & span) == 0) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float a = v[j].v[i], b = v[j + span].v[i];
        v[j].v[i] = a + b;
        v[j + span].v[i] = a - b;
      }
    }
  }
}

// The five column bits: two inside the four numbers, three between eight neighbouring threads.
__device__ __forceinline__ void column_levels(Quad& q) {
  const float s0 = q.v[0] + q.v[1], d0 = q.v[0] - q.v[1];
  const float s1 = q.v[2] + q.v[3], d1 = q.v[2] - q.v[3];
  q = {{s0 + s1, d0 + d1, s0 - s1, d0 - d1}};
#pragma unroll
  for (int distance = 1; distance < kTileThreads; distance *= 2) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float other = __shfl_xor_sync(0xFFFFFFFFu, q.v[i], distance);
      q.v[i] = (threadIdx.x & distance) != 0 ? other - q.v[i] : q.v[i] + other;
    }
  }
}

// `done` bits are transformed already; the first pass has done = 0.
template <int kFirst, int kSecond, bool kFirstPass, Access kAccess>
__global__ void __launch_bounds__(kBlock)
    fwht_kernel(float* y, const float* x, int64_t tiles, int done, float scale) {
  constexpr int kRows = 1 << kFirst, kRowBits = kFirst + kSecond;
  constexpr unsigned kThreadsOfTile = kTileThreads << kSecond;
  const int64_t tile =
      static_cast<int64_t>(blockIdx.x) * (kBlock / kThreadsOfTile) + threadIdx.x / kThreadsOfTile;
  const int local = threadIdx.x % kThreadsOfTile;
  const int column = 4 * (local % kTileThreads), group = local / kTileThreads;
  const bool exists = tile < tiles;
  int64_t start = tile << (kRowBits + kColumnBits), stride = int64_t{1} << kColumnBits;
  if (!kFirstPass) {
    const int strip_bits = done - kColumnBits;
    const int64_t strip = tile & ((int64_t{1} << strip_bits) - 1);
    start = (tile >> strip_bits << (done + kRowBits)) + (strip << kColumnBits);
    stride = int64_t{1} << done;
  }

  Quad v[kRows];
#pragma unroll
  for (int j = 0; j < kRows; ++j) {
    const int64_t row = (j << kSecond) | group;
    v[j] = exists ? load_quad<kAccess>(x + start + row * stride + column) : Quad{};
    if (kFirstPass) column_levels(v[j]);
  }
#pragma unroll
  for (int bit = 0; bit < kFirst; ++bit) row_level(v, 1 << bit);

  if (kSecond > 0) {
    // Eight threads read or write the 128 bytes of a row: no two of them meet in a bank.
    Quad* shared =
        shared_memory<Quad>() + threadIdx.x / kThreadsOfTile * (kTileThreads << kRowBits);
#pragma unroll
    for (int j = 0; j < kRows; ++j) {
      shared[((j << kSecond) | group) * kTileThreads + column / 4] = v[j];
    }
    __syncthreads();
#pragma unroll
    for (int j = 0; j < kRows; ++j) v[j] = shared[(group * kRows + j) * kTileThreads + column / 4];
#pragma unroll
    for (int bit = 0; bit < kSecond; ++bit) row_level(v, 1 << bit);
  }

  if (!exists) return;
#pragma unroll
  for (int j = 0; j < kRows; ++j) {
    const int64_t row = kSecond > 0 ? group * kRows + j : j;
#pragma unroll
    for (int i = 0; i < 4; ++i) v[j].v[i] = v[j].v[i] * scale;
    store_quad<kAccess>(y + start + row * stride + column, v[j]);
  }
}

// Planes of fewer than 32 numbers: a thread for each.
__global__ void __launch_bounds__(kThreads)
    fwht_small_kernel(float* y, const float* x, int64_t planes, int length, float scale) {
  constexpr int kMost = 16;
  const int64_t plane = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (plane >= planes) return;
  float v[kMost];
#pragma unroll
  for (int i = 0; i < kMost; ++i) v[i] = i < length ? x[plane * length + i] : 0.0f;
#pragma unroll
  for (int span = 1; span < kMost; span *= 2) {
    if (span < length) {
#pragma unroll
      for (int i = 0; i < kMost; ++i) {
        if ((i & span) == 0) {
          const float a = v[i], b = v[i + span];
          v[i] = a + b;
          v[i + span] = a - b;
        }
      }
    }
  }
#pragma unroll
  for (int i = 0; i < kMost; ++i) {
    if (i < length) y[plane * length + i] = v[i] * scale;
  }
}

struct Pass {
  float* y;
  const float* x;
  int64_t numbers;
  int done;
  float scale;
};

template <int kFirst, int kSecond, bool kFirstPass>
void launch_pass(const Pass& pass, const Place& place) {
  constexpr int kTileBits = kFirst + kSecond + kColumnBits;
  constexpr int64_t kTiles = kBlock / (kTileThreads << kSecond);  // of a block
  const int64_t tiles = pass.numbers >> kTileBits;
  LaunchShape shape{dim3(static_cast<unsigned>((tiles + kTiles - 1) / kTiles)), kBlock};
  if (kSecond > 0) shape.shared_bytes = kTiles * sizeof(float) << kTileBits;
  const bool wide = aligned(pass.x, 16) && aligned(pass.y, 16);
  const auto kernel = wide ? fwht_kernel<kFirst, kSecond, kFirstPass, Access::kWide>
                           : fwht_kernel<kFirst, kSecond, kFirstPass, Access::kChecked>;
  launch("fwht", kernel, shape, place, pass.y, pass.x, tiles, pass.done, pass.scale);
}

template <bool kFirstPass>
void run_pass(int row_bits, const Pass& pass, const Place& place) {
  switch (row_bits) {
    case 0:
      return launch_pass<0, 0, kFirstPass>(pass, place);
    case 1:
      return launch_pass<1, 0, kFirstPass>(pass, place);
    case 2:
      return launch_pass<2, 0, kFirstPass>(pass, place);
    case 3:
      return launch_pass<3, 0, kFirstPass>(pass, place);
    case 4:
      return launch_pass<4, 0, kFirstPass>(pass, place);
    case 5:
      return launch_pass<4, 1, kFirstPass>(pass, place);
    case 6:
      return launch_pass<4, 2, kFirstPass>(pass, place);
    case 7:
      return launch_pass<4, 3, kFirstPass>(pass, place);
    default:
      return launch_pass<4, 4, kFirstPass>(pass, place);
  }
}

}  // namespace

// y = (H_2 x ... x H_2) x / sqrt(n), H_2 = [[1, 1], [1, -1]]: the orthonormal Walsh-Hadamard
// transform in natural order of each of the planes of n = 2^m numbers. y may be x. Every pass reads
// and writes the planes once; the scale goes into the last.
void fwht(float* y, const float* x, int64_t planes, int64_t n, const Place& place) {
  const float scale = static_cast<float>(1.0 / __builtin_sqrt(static_cast<double>(n)));
  int bits = 0;
  while ((int64_t{1} << bits) < n) ++bits;
  if (bits < kColumnBits) {
    const LaunchShape shape = over_planes(planes, 1);
    return launch("fwht", fwht_small_kernel, shape, place, y, x, planes, static_cast<int>(n),
                  scale);
  }
  constexpr int kFirstBits = kColumnBits + kMostRowBits;
  int done = bits < kFirstBits ? bits : kFirstBits;
  run_pass<true>(done - kColumnBits, {y, x, planes * n, 0, done == bits ? scale : 1.0f}, place);
  while (done < bits) {
    const int passes = (bits - done + kMostRowBits - 1) / kMostRowBits;
    const int now = (bits - done + passes - 1) / passes;
    run_pass<false>(now, {y, y, planes * n, done, done + now == bits ? scale : 1.0f}, place);
    done += now;
  }
}

}  // namespace ddrm_fast::cuda
