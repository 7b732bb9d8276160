// What kernels of networks share: numbers of any type to and from float32.
#pragma once

#include <cstring>

#include "ddrm_fast/channels.h"
#include "ddrm_fast/gelu.h"
#include "tasks.h"

namespace ddrm_fast::DDRM_FAST_ISA {

DDRM_INLINE float* floats(const Planes& p, int64_t b, int64_t c, int64_t at) {
  return static_cast<float*>(p.data) + b * p.batch_stride + c * p.channel_stride + at;
}

DDRM_INLINE uint16_t* halves(const Planes& p, int64_t b, int64_t c, int64_t at) {
  return static_cast<uint16_t*>(p.data) + b * p.batch_stride + c * p.channel_stride + at;
}

// Rounds to the nearest, to even in the middle; NaN stays NaN.
DDRM_INLINE u32x16 bfloat16_bits(f32x16 a) {
  const u32x16 bits = as_bits(a);
  const u32x16 odd = shift_right<16>(bits) & splat(1u);
  const f32x16 rounded = as_float(shift_right<16>(bits + splat(0x7FFFu) + odd));
  return as_bits(select(differs(a, a), as_float(splat(0x7FC0u)), rounded));
}

// The same for float16. Below the smallest normal number the sum with 0.5 rounds as the format
// does; above, the exponent is rebased.
DDRM_INLINE u32x16 float16_bits(f32x16 a) {
  const u32x16 bits = as_bits(a), sign = shift_right<16>(bits) & splat(0x8000u);
  const f32x16 magnitude = as_float(bits & splat(0x7FFFFFFFu));
  const u32x16 small = as_bits(magnitude + f32x16(0.5f)) - splat(0x3F000000u);
  const u32x16 m = as_bits(magnitude), odd = shift_right<13>(m) & splat(1u);
  const u32x16 normal = shift_right<13>(m + splat(0xC8000FFFu) + odd);
  f32x16 r = select(less(magnitude, f32x16(0x1p-14f)), as_float(small), as_float(normal));
  r = select(less(magnitude, f32x16(65520.0f)), r, as_float(splat(0x7C00u)));
  r = select(differs(a, a), as_float(splat(0x7E00u)), r);
  return as_bits(r) | sign;
}

DDRM_INLINE void store_u16(uint16_t* p, u32x16 a, int64_t n) {
  uint32_t wide[kLanes];
  std::memcpy(wide, &a, sizeof(a));
#if defined(__AVX512F__)
  if (n == kLanes) {
    _mm256_storeu_si256((__m256i*)p, _mm512_cvtepi32_epi16((__m512i)a.part[0]));
    return;
  }
#endif
  for (int64_t i = 0; i < n; ++i) p[i] = static_cast<uint16_t>(wide[i]);
}

// n numbers of a plane to floats.
DDRM_INLINE void read_floats(float* to, const Planes& p, int64_t b, int64_t c, int64_t at,
                             int64_t n) {
  if (p.type == OutputType::kFloat32) {
    std::memcpy(to, floats(p, b, c, at), static_cast<size_t>(n) * sizeof(float));
    return;
  }
  const uint16_t* from = halves(p, b, c, at);
  const bool brain = p.type == OutputType::kBFloat16;
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    store(to + i, brain ? load_bfloat16(from + i) : load_float16(from + i));
  }
  if (i < n) {
    uint16_t rest[kLanes] = {};
    std::memcpy(rest, from + i, static_cast<size_t>(n - i) * sizeof(uint16_t));
    store(to + i, brain ? load_bfloat16(rest) : load_float16(rest), FirstLanes{n - i});
  }
}

// One place where results go: a run of a plane.
struct Target {
  float* wide;
  uint16_t* half;
  bool brain, stream;

  Target(const Planes& p, int64_t b, int64_t c, int64_t at, bool stream_ = false)
      : wide(p.type == OutputType::kFloat32 ? floats(p, b, c, at) : nullptr),
        half(p.type == OutputType::kFloat32 ? nullptr : halves(p, b, c, at)),
        brain(p.type == OutputType::kBFloat16),
        stream(stream_ && wide != nullptr) {}

  __attribute__((always_inline)) void put(int64_t i, f32x16 a, AllLanes lanes) const {
    if (wide != nullptr) {
      store_result(wide + i, a, lanes, stream);
    } else {
      store_u16(half + i, brain ? bfloat16_bits(a) : float16_bits(a), kLanes);
    }
  }
  __attribute__((always_inline)) void put(int64_t i, f32x16 a, FirstLanes lanes) const {
    if (wide != nullptr) {
      store(wide + i, a, lanes);
    } else {
      store_u16(half + i, brain ? bfloat16_bits(a) : float16_bits(a), lanes.count);
    }
  }
};

// The same place of neighbouring rows.
template <int kRows>
struct Targets {
  void* data;
  OutputType type;
  int64_t width;
  bool stream;

  Targets(const Planes& p, int64_t b, int64_t c, int64_t at, int64_t width_, bool stream_)
      : data(p.type == OutputType::kFloat32 ? static_cast<void*>(floats(p, b, c, at))
                                            : static_cast<void*>(halves(p, b, c, at))),
        type(p.type),
        width(width_),
        stream(stream_) {}

  template <class Lanes>
  __attribute__((always_inline)) void put(int64_t i, const f32x16 (&y)[kRows], int count,
                                          Lanes lanes) const {
    if (type == OutputType::kFloat32) {
      float* to = static_cast<float*>(data) + i;
      for (int k = 0; k < kRows; ++k) {
        if (k < count) store_result(to + k * width, y[k], lanes, stream);
      }
      return;
    }
    uint16_t* to = static_cast<uint16_t*>(data) + i;
    for (int k = 0; k < kRows; ++k) {
      if (k >= count) break;
      const bool brain = type == OutputType::kBFloat16;
      store_u16(to + k * width, brain ? bfloat16_bits(y[k]) : float16_bits(y[k]), count_of(lanes));
    }
  }

 private:
  static int64_t count_of(AllLanes) { return kLanes; }
  static int64_t count_of(FirstLanes lanes) { return lanes.count; }
};

// Whether results of so many float32 go past the caches: they would not stay there.
constexpr int64_t kStreamFloats = int64_t{1} << 24;
DDRM_INLINE bool streams(const Planes& p, const Extent& e) {
  return p.type == OutputType::kFloat32 &&
         e.batch * e.channels * e.height * e.width >= kStreamFloats && e.width % kLanes == 0 &&
         reinterpret_cast<uintptr_t>(p.data) % 64 == 0 && p.batch_stride % kLanes == 0 &&
         p.channel_stride % kLanes == 0;
}

DDRM_INLINE float sum_of_lanes(f32x16 a) {
  float lane[kLanes];
  store(lane, a);
  for (int span = kLanes / 2; span > 0; span /= 2) {
    for (int i = 0; i < span; ++i) lane[i] += lane[i + span];
  }
  return lane[0];
}

// Rows of results at a time.
constexpr int kBlockRows = 4;

// Neighbouring rows of a strip of columns: at(k)[i - 1 ... i + 16] can be read for the columns that
// a body is called with.
template <int kCount>
struct Rows {
  const float* row[kCount];

  const float* at(int64_t k) const { return row[k]; }
};

// Where strips of planes lie: rows and columns beyond a plane are zeros.
struct Strip {
  const Planes& planes;
  int64_t b, c, rows, width, left, columns;

  // Floats of memory that for_columns needs, zeros and copies of kCount rows.
  static int64_t stride(int64_t columns) { return (columns + kLanes - 1) / kLanes * kLanes + 32; }
  static int64_t memory(int count, int64_t columns) { return (count + 1) * stride(columns); }

  bool exists(int64_t r) const { return r >= 0 && r < rows; }

  // n columns of row r from column `first` on (as floats, it may begin before the plane) to memory.
  void copy(float* to, int64_t r, int64_t first, int64_t n) const {
    const int64_t skip = first < 0 ? -first : 0;
    const int64_t end = first + n > width ? width : first + n;
    std::memset(to, 0, static_cast<size_t>(n) * sizeof(float));
    if (exists(r) && end > first + skip) {
      read_floats(to + skip, planes, b, c, r * width + first + skip, end - first - skip);
    }
  }

  // body(i, at, lanes, rows) for columns i = 0, 16, ... of the strip, which are rows.at(k)[at ...],
  // k = 0 for row r. float32 is read in place, but for the margins of the plane.
  template <int kCount, class Body>
  __attribute__((always_inline)) void for_columns(int64_t r, float* memory,
                                                  const Body& body) const {
    Rows<kCount> x;
    if (planes.type != OutputType::kFloat32) {
      for (int k = 0; k < kCount; ++k) {
        float* to = memory + k * stride(columns) + kLanes;
        copy(to - 1, r + k, left - 1, columns + 2);
        x.row[k] = to;
      }
      for_lanes(columns, [&](int64_t i, auto lanes) { body(i, i, lanes, x); });
      return;
    }
    float* zeros = memory + kCount * stride(columns);
    std::memset(zeros, 0, static_cast<size_t>(stride(columns)) * sizeof(float));
    for (int k = 0; k < kCount; ++k) {
      x.row[k] = exists(r + k) ? floats(planes, b, c, (r + k) * width + left) : zeros + kLanes;
    }
    const auto margin = [&](int64_t i, auto lanes) {
      Rows<kCount> copies;
      for (int k = 0; k < kCount; ++k) {
        float* to = memory + k * 2 * kLanes;
        copy(to, r + k, left + i - 1, kLanes + 2);
        copies.row[k] = to + 1;
      }
      body(i, 0, lanes, copies);
    };
    int64_t i = 0;
    if (left == 0) {
      columns >= kLanes ? margin(0, AllLanes{}) : margin(0, FirstLanes{columns});
      i = kLanes;
    }
    for (; i + kLanes <= columns && left + i + kLanes < width; i += kLanes) {
      body(i, i, AllLanes{}, x);
    }
    if (i + kLanes <= columns) margin(i, AllLanes{}), i += kLanes;
    if (i < columns) margin(i, FirstLanes{columns - i});
  }

  // Asks for the strip of row r.
  void prefetch(int64_t r) const {
    if (planes.type != OutputType::kFloat32 || !exists(r)) return;
    const float* p = floats(planes, b, c, r * width + left);
    for (int64_t i = 0; i < columns; i += kLanes) __builtin_prefetch(p + i, 0, 2);
  }
};

// A 3 x 3 stencil of one channel.
struct Stencil {
  f32x16 weight[9], bias;

  Stencil() = default;
  __attribute__((always_inline)) Stencil(const Depthwise& d, int64_t c)
      : bias(d.bias == nullptr ? 0.0f : d.bias[c]) {
    for (int i = 0; i < 9; ++i) weight[i] = f32x16(d.weight[c * 9 + i]);
  }

  // kRows rows of results from kRows + 2 rows: each number is loaded three times, not nine times.
  template <int kRows>
  __attribute__((always_inline)) void apply(const Rows<kRows + 2>& x, int64_t i,
                                            f32x16 (&y)[kRows]) const {
    for (int j = 0; j < kRows; ++j) y[j] = bias;
#pragma GCC unroll 8
    for (int k = 0; k < kRows + 2; ++k) {
      const float* row = x.at(k) + i;
      const f32x16 left = load(row - 1), here = load(row), right = load(row + 1);
#pragma GCC unroll 8
      for (int j = 0; j < kRows; ++j) {
        if (k < j || k > j + 2) continue;
        const f32x16* w = weight + 3 * (k - j);
        y[j] = y[j] + left * w[0];
        y[j] = y[j] + here * w[1];
        y[j] = y[j] + right * w[2];
      }
    }
  }
};

}  // namespace ddrm_fast::DDRM_FAST_ISA
