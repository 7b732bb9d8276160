// The passes of the Walsh-Hadamard transform, for what reads them and what is done with the last
// one.
#pragma once

#include "launch.h"
#include "quad.h"

namespace ddrm_fast::cuda {

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
constexpr int kFirstBits = kColumnBits + kMostRowBits;  // levels of the first pass

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

// Where a pass reads: planes one behind the other. `start` is the beginning of a tile.
struct Numbers {
  const float* data;

  template <Access kAccess>
  __device__ __forceinline__ Quad load(int64_t start, int64_t offset) const {
    return load_quad<kAccess>(data + start + offset);
  }
};

// And what it does with its results: they are scaled and written.
struct Scaled {
  float* data;
  float scale;
  static constexpr bool kOneByOne = false;

  template <Access kAccess>
  __device__ __forceinline__ void store(int64_t at, Quad q) const {
#pragma unroll
    for (int i = 0; i < 4; ++i) q.v[i] = q.v[i] * scale;
    store_quad<kAccess>(data + at, q);
  }
};

// `done` bits are transformed already; the first pass has done = 0. A sink that is large takes the
// rows of a thread one by one, from the thread's own places in shared memory: a loop over registers
// would have to be written out sixteen times.
template <int kFirst, int kSecond, bool kFirstPass, Access kAccess, class Source, class Sink>
__global__ void __launch_bounds__(kBlock)
    fwht_kernel(Source source, Sink sink, int64_t tiles, int done) {
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
    v[j] = exists ? source.template load<kAccess>(start, row * stride + column) : Quad{};
    if (kFirstPass) column_levels(v[j]);
  }
#pragma unroll
  for (int bit = 0; bit < kFirst; ++bit) row_level(v, 1 << bit);

  // Eight threads read or write the 128 bytes of a row: no two of them meet in a bank.
  Quad* shared = nullptr;
  if (kSecond > 0 || Sink::kOneByOne) {
    shared = shared_memory<Quad>() + threadIdx.x / kThreadsOfTile * (kTileThreads << kRowBits) +
             column / 4;
  }
  const int first_row = kSecond > 0 ? group * kRows : 0;
  if (kSecond > 0) {
#pragma unroll
    for (int j = 0; j < kRows; ++j) shared[((j << kSecond) | group) * kTileThreads] = v[j];
    __syncthreads();
#pragma unroll
    for (int j = 0; j < kRows; ++j) v[j] = shared[(first_row + j) * kTileThreads];
#pragma unroll
    for (int bit = 0; bit < kSecond; ++bit) row_level(v, 1 << bit);
  }

  if (!exists) return;
  start += column;
  if constexpr (Sink::kOneByOne) {
    // What belongs to the next row is on its way while this one is worked on.
    auto next = sink.template fetch<kAccess>(start + first_row * stride);
#pragma unroll
    for (int j = 0; j < kRows; ++j) shared[(first_row + j) * kTileThreads] = v[j];
#pragma unroll 1
    for (int row = first_row; row < first_row + kRows; ++row) {
      const auto fetched = next;
      if (row + 1 < first_row + kRows) {
        next = sink.template fetch<kAccess>(start + (row + 1) * stride);
      }
      sink.template store<kAccess>(start + row * stride, shared[row * kTileThreads], fetched);
    }
  } else {
#pragma unroll
    for (int j = 0; j < kRows; ++j) {
      sink.template store<kAccess>(start + (first_row + j) * stride, v[j]);
    }
  }
}

template <int kFirst, int kSecond, bool kFirstPass, class Source, class Sink>
void launch_pass(const Source& source, const Sink& sink, int64_t numbers, int done, bool wide,
                 const Place& place) {
  constexpr int kTileBits = kFirst + kSecond + kColumnBits;
  constexpr int64_t kTiles = kBlock / (kTileThreads << kSecond);  // of a block
  const int64_t tiles = numbers >> kTileBits;
  LaunchShape shape{dim3(static_cast<unsigned>((tiles + kTiles - 1) / kTiles)), kBlock};
  if (kSecond > 0 || Sink::kOneByOne) shape.shared_bytes = kTiles * sizeof(float) << kTileBits;
  const auto kernel =
      wide ? fwht_kernel<kFirst, kSecond, kFirstPass, Access::kWide, Source, Sink>
           : fwht_kernel<kFirst, kSecond, kFirstPass, Access::kChecked, Source, Sink>;
  launch("fwht", kernel, shape, place, source, sink, tiles, done);
}

// Levels of `row_bits` row bits of all planes, `numbers` in all; `wide`: every address is aligned.
template <bool kFirstPass, class Source, class Sink>
void run_pass(int row_bits, const Source& source, const Sink& sink, int64_t numbers, int done,
              bool wide, const Place& place) {
  switch (row_bits) {
    case 0:
      return launch_pass<0, 0, kFirstPass>(source, sink, numbers, done, wide, place);
    case 1:
      return launch_pass<1, 0, kFirstPass>(source, sink, numbers, done, wide, place);
    case 2:
      return launch_pass<2, 0, kFirstPass>(source, sink, numbers, done, wide, place);
    case 3:
      return launch_pass<3, 0, kFirstPass>(source, sink, numbers, done, wide, place);
    case 4:
      return launch_pass<4, 0, kFirstPass>(source, sink, numbers, done, wide, place);
    case 5:
      return launch_pass<4, 1, kFirstPass>(source, sink, numbers, done, wide, place);
    case 6:
      return launch_pass<4, 2, kFirstPass>(source, sink, numbers, done, wide, place);
    case 7:
      return launch_pass<4, 3, kFirstPass>(source, sink, numbers, done, wide, place);
    default:
      return launch_pass<4, 4, kFirstPass>(source, sink, numbers, done, wide, place);
  }
}

inline int log2_of(int64_t n) {
  int bits = 0;
  while ((int64_t{1} << bits) < n) ++bits;
  return bits;
}

inline float fwht_scale(int64_t n) {
  return static_cast<float>(1.0 / __builtin_sqrt(static_cast<double>(n)));
}

// Row bits of the next pass behind the first: those that are left, shared out evenly over as few
// passes as there can be.
inline int next_row_bits(int left) {
  const int passes = (left + kMostRowBits - 1) / kMostRowBits;
  return (left + passes - 1) / passes;
}

}  // namespace ddrm_fast::cuda
