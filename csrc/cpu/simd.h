// Sixteen float lanes on every instruction set.
//
// A value is one, two or four native vectors (AVX-512, AVX2, 128 bits: SSE2, NEON), so that the
// same source and the same order of operations give the same bits everywhere. Included once for
// each instruction set, inside a namespace of its own.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#include "ddrm_fast/shapes.h"

#define DDRM_INLINE static inline __attribute__((always_inline))

namespace ddrm_fast::DDRM_FAST_ISA {

#if defined(__AVX512F__)
constexpr int kNativeBytes = 64;
#elif defined(__AVX2__)
constexpr int kNativeBytes = 32;
#else
constexpr int kNativeBytes = 16;
#endif
constexpr int kLanes = 16;
constexpr int kParts = 64 / kNativeBytes;

typedef float NativeF __attribute__((vector_size(kNativeBytes)));
typedef int32_t NativeI __attribute__((vector_size(kNativeBytes)));
typedef uint32_t NativeU __attribute__((vector_size(kNativeBytes)));
typedef uint64_t NativeQ __attribute__((vector_size(kNativeBytes)));

struct u32x16 {
  NativeU part[kParts];
  u32x16() = default;
  __attribute__((always_inline)) explicit u32x16(uint32_t value) {
    for (int i = 0; i < kParts; ++i) part[i] = value - NativeU{};
  }
};
struct u64x8 {
  NativeQ part[kParts];
};
struct f32x16 {
  NativeF part[kParts];
  f32x16() = default;
  __attribute__((always_inline)) explicit f32x16(float value) {
    for (int i = 0; i < kParts; ++i) part[i] = value - NativeF{};
  }
};
#if defined(__AVX512F__)
struct mask16 {
  __mmask16 bits;
};
#else
struct mask16 {
  NativeI part[kParts];
};
#endif

#define DDRM_BINARY(TYPE, OP)                                            \
  DDRM_INLINE TYPE operator OP(TYPE a, TYPE b) {                         \
    TYPE r;                                                              \
    for (int i = 0; i < kParts; ++i) r.part[i] = a.part[i] OP b.part[i]; \
    return r;                                                            \
  }
DDRM_BINARY(f32x16, +)
DDRM_BINARY(f32x16, -)
DDRM_BINARY(f32x16, *)
DDRM_BINARY(f32x16, /)
DDRM_BINARY(u32x16, +)
DDRM_BINARY(u32x16, -)
DDRM_BINARY(u32x16, &)
DDRM_BINARY(u32x16, |)
DDRM_BINARY(u32x16, ^)
DDRM_BINARY(u64x8, +)
DDRM_BINARY(u64x8, ^)
#undef DDRM_BINARY

DDRM_INLINE u32x16 splat(uint32_t value) { return u32x16(value); }

DDRM_INLINE u64x8 splat64(uint64_t value) {
  u64x8 r;
  for (int i = 0; i < kParts; ++i) r.part[i] = value - NativeQ{};
  return r;
}

DDRM_INLINE u32x16 as_bits(f32x16 a) {
  u32x16 r;
  for (int i = 0; i < kParts; ++i) r.part[i] = (NativeU)a.part[i];
  return r;
}

DDRM_INLINE f32x16 as_float(u32x16 a) {
  f32x16 r;
  for (int i = 0; i < kParts; ++i) r.part[i] = (NativeF)a.part[i];
  return r;
}

template <int kBits>
DDRM_INLINE u32x16 shift_left(u32x16 a) {
  for (int i = 0; i < kParts; ++i) a.part[i] <<= kBits;
  return a;
}

template <int kBits>
DDRM_INLINE u32x16 shift_right(u32x16 a) {
  for (int i = 0; i < kParts; ++i) a.part[i] >>= kBits;
  return a;
}

// Arithmetic shift: keeps the sign.
template <int kBits>
DDRM_INLINE u32x16 shift_right_signed(u32x16 a) {
  for (int i = 0; i < kParts; ++i) a.part[i] = (NativeU)((NativeI)a.part[i] >> kBits);
  return a;
}

DDRM_INLINE u64x8 high_to_low(u64x8 a) {
  for (int i = 0; i < kParts; ++i) a.part[i] >>= 32;
  return a;
}

DDRM_INLINE u64x8 low_to_high(u64x8 a) {
  for (int i = 0; i < kParts; ++i) a.part[i] <<= 32;
  return a;
}

// Product of the low 32 bits of each 64-bit lane; what stands in the upper halves is ignored.
DDRM_INLINE u64x8 multiply_low(u64x8 a, u64x8 b) {
  u64x8 r;
  for (int i = 0; i < kParts; ++i) {
#if defined(__AVX512F__)
    r.part[i] = (NativeQ)_mm512_mul_epu32((__m512i)a.part[i], (__m512i)b.part[i]);
#elif defined(__AVX2__)
    r.part[i] = (NativeQ)_mm256_mul_epu32((__m256i)a.part[i], (__m256i)b.part[i]);
#elif defined(__x86_64__)
    r.part[i] = (NativeQ)_mm_mul_epu32((__m128i)a.part[i], (__m128i)b.part[i]);
#elif defined(__aarch64__)
    r.part[i] =
        (NativeQ)vmull_u32(vmovn_u64((uint64x2_t)a.part[i]), vmovn_u64((uint64x2_t)b.part[i]));
#else
    r.part[i] = (a.part[i] & 0xFFFFFFFFu) * (b.part[i] & 0xFFFFFFFFu);
#endif
  }
  return r;
}

DDRM_INLINE u64x8 xor3(u64x8 a, u64x8 b, u64x8 c) {
#if defined(__AVX512F__)
  a.part[0] = (NativeQ)_mm512_ternarylogic_epi64((__m512i)a.part[0], (__m512i)b.part[0],
                                                 (__m512i)c.part[0], 0x96);
  return a;
#else
  return a ^ b ^ c;
#endif
}

// (a & mask) | set
DDRM_INLINE u32x16 and_or(u32x16 a, u32x16 mask, u32x16 set) {
#if defined(__AVX512F__)
  a.part[0] = (NativeU)_mm512_ternarylogic_epi32((__m512i)a.part[0], (__m512i)mask.part[0],
                                                 (__m512i)set.part[0], 0xEA);
  return a;
#else
  return (a & mask) | set;
#endif
}

// a ^ (b & mask)
DDRM_INLINE f32x16 xor_and(f32x16 a, u32x16 b, u32x16 mask) {
#if defined(__AVX512F__)
  a.part[0] = (NativeF)_mm512_ternarylogic_epi32((__m512i)a.part[0], (__m512i)b.part[0],
                                                 (__m512i)mask.part[0], 0x78);
  return a;
#else
  return as_float(as_bits(a) ^ (b & mask));
#endif
}

// 32-bit lanes: the low half of each 64-bit lane from low, the high half from high.
DDRM_INLINE u32x16 merge_halves(u64x8 low, u64x8 high) {
  u32x16 r;
  for (int i = 0; i < kParts; ++i) {
#if defined(__AVX512F__)
    r.part[i] =
        (NativeU)_mm512_mask_blend_epi32(0xAAAA, (__m512i)low.part[i], (__m512i)high.part[i]);
#elif defined(__AVX2__)
    r.part[i] = (NativeU)_mm256_blend_epi32((__m256i)low.part[i], (__m256i)high.part[i], 0xAA);
#else
    const NativeQ mask = 0xFFFFFFFFu - NativeQ{};
    r.part[i] = (NativeU)((low.part[i] & mask) | (high.part[i] & ~mask));
#endif
  }
  return r;
}

// Lanes as signed integers, converted to float.
DDRM_INLINE f32x16 to_float(u32x16 a) {
  f32x16 r;
  for (int i = 0; i < kParts; ++i) {
    r.part[i] = __builtin_convertvector((NativeI)a.part[i], NativeF);
  }
  return r;
}

DDRM_INLINE f32x16 square_root(f32x16 a) {
  for (int i = 0; i < kParts; ++i) {
#if defined(__AVX512F__)
    a.part[i] = (NativeF)_mm512_sqrt_ps((__m512)a.part[i]);
#elif defined(__AVX2__)
    a.part[i] = (NativeF)_mm256_sqrt_ps((__m256)a.part[i]);
#elif defined(__x86_64__)
    a.part[i] = (NativeF)_mm_sqrt_ps((__m128)a.part[i]);
#elif defined(__aarch64__)
    a.part[i] = (NativeF)vsqrtq_f32((float32x4_t)a.part[i]);
#else
    for (int j = 0; j < 4; ++j) a.part[i][j] = __builtin_sqrtf(a.part[i][j]);
#endif
  }
  return a;
}

// a > b ? a : b and a < b ? a : b, which the processors do in one operation; b where one is NaN.
DDRM_INLINE f32x16 greater_of(f32x16 a, f32x16 b) {
  for (int i = 0; i < kParts; ++i) {
#if defined(__AVX512F__)
    a.part[i] = (NativeF)_mm512_max_ps((__m512)a.part[i], (__m512)b.part[i]);
#elif defined(__AVX2__)
    a.part[i] = (NativeF)_mm256_max_ps((__m256)a.part[i], (__m256)b.part[i]);
#elif defined(__x86_64__)
    a.part[i] = (NativeF)_mm_max_ps((__m128)a.part[i], (__m128)b.part[i]);
#elif defined(__aarch64__)
    const float32x4_t x = (float32x4_t)a.part[i], y = (float32x4_t)b.part[i];
    a.part[i] = (NativeF)vbslq_f32(vcgtq_f32(x, y), x, y);
#else
    for (int j = 0; j < 4; ++j)
      a.part[i][j] = a.part[i][j] > b.part[i][j] ? a.part[i][j] : b.part[i][j];
#endif
  }
  return a;
}

DDRM_INLINE f32x16 lesser_of(f32x16 a, f32x16 b) {
  for (int i = 0; i < kParts; ++i) {
#if defined(__AVX512F__)
    a.part[i] = (NativeF)_mm512_min_ps((__m512)a.part[i], (__m512)b.part[i]);
#elif defined(__AVX2__)
    a.part[i] = (NativeF)_mm256_min_ps((__m256)a.part[i], (__m256)b.part[i]);
#elif defined(__x86_64__)
    a.part[i] = (NativeF)_mm_min_ps((__m128)a.part[i], (__m128)b.part[i]);
#elif defined(__aarch64__)
    const float32x4_t x = (float32x4_t)a.part[i], y = (float32x4_t)b.part[i];
    a.part[i] = (NativeF)vbslq_f32(vcltq_f32(x, y), x, y);
#else
    for (int j = 0; j < 4; ++j)
      a.part[i][j] = a.part[i][j] < b.part[i][j] ? a.part[i][j] : b.part[i][j];
#endif
  }
  return a;
}

#if defined(__AVX512F__)
DDRM_INLINE mask16 less(f32x16 a, f32x16 b) {
  return {_mm512_cmp_ps_mask((__m512)a.part[0], (__m512)b.part[0], _CMP_LT_OQ)};
}
DDRM_INLINE mask16 differs(f32x16 a, f32x16 b) {
  return {_mm512_cmp_ps_mask((__m512)a.part[0], (__m512)b.part[0], _CMP_NEQ_UQ)};
}
DDRM_INLINE f32x16 select(mask16 condition, f32x16 yes, f32x16 no) {
  no.part[0] =
      (NativeF)_mm512_mask_blend_ps(condition.bits, (__m512)no.part[0], (__m512)yes.part[0]);
  return no;
}
#else
DDRM_INLINE mask16 less(f32x16 a, f32x16 b) {
  mask16 r;
  for (int i = 0; i < kParts; ++i) r.part[i] = a.part[i] < b.part[i];
  return r;
}
DDRM_INLINE mask16 differs(f32x16 a, f32x16 b) {
  mask16 r;
  for (int i = 0; i < kParts; ++i) r.part[i] = a.part[i] != b.part[i];
  return r;
}
DDRM_INLINE f32x16 select(mask16 condition, f32x16 yes, f32x16 no) {
  for (int i = 0; i < kParts; ++i) {
    no.part[i] = (NativeF)(((NativeI)yes.part[i] & condition.part[i]) |
                           ((NativeI)no.part[i] & ~condition.part[i]));
  }
  return no;
}
#endif

// Sixteen lanes of memory, or the first few of them (the rest reads as 0 and is not written).
struct AllLanes {};
struct FirstLanes {
  int64_t count;
};

// Part by part: a copy of the whole value would go through the stack.
DDRM_INLINE f32x16 load(const float* p, AllLanes = {}) {
  f32x16 r;
  for (int i = 0; i < kParts; ++i) std::memcpy(&r.part[i], p + i * kLanes / kParts, kNativeBytes);
  return r;
}

DDRM_INLINE void store(float* p, f32x16 a, AllLanes = {}) {
  for (int i = 0; i < kParts; ++i) std::memcpy(p + i * kLanes / kParts, &a.part[i], kNativeBytes);
}

// Writes past the caches; p is a multiple of 64 bytes. finish_stream() before another thread may
// read.
DDRM_INLINE void store_streaming(float* p, f32x16 a) {
#if defined(__x86_64__)
  for (int i = 0; i < kParts; ++i) {
#if defined(__AVX512F__)
    _mm512_stream_ps(p, (__m512)a.part[i]);
#elif defined(__AVX2__)
    _mm256_stream_ps(p + 8 * i, (__m256)a.part[i]);
#else
    _mm_stream_ps(p + 4 * i, (__m128)a.part[i]);
#endif
  }
#else
  store(p, a);
#endif
}

DDRM_INLINE void finish_stream() {
#if defined(__x86_64__)
  _mm_sfence();
#endif
}

DDRM_INLINE f32x16 load(const float* p, FirstLanes lanes) {
  float buffer[kLanes] = {};
  for (int64_t i = 0; i < lanes.count; ++i) buffer[i] = p[i];
  return load(buffer);
}

DDRM_INLINE void store(float* p, f32x16 a, FirstLanes lanes) {
  float buffer[kLanes];
  store(buffer, a);
  for (int64_t i = 0; i < lanes.count; ++i) p[i] = buffer[i];
}

// Lanes of a row that may be one number for all columns (stride 0).
template <class Lanes>
DDRM_INLINE f32x16 load_strided(const float* p, int64_t stride, int64_t i, Lanes lanes) {
  return stride == 0 ? f32x16(*p) : load(p + i, lanes);
}

DDRM_INLINE void store_result(float* p, f32x16 a, AllLanes, bool stream) {
  if (stream) {
    store_streaming(p, a);
  } else {
    store(p, a);
  }
}

DDRM_INLINE void store_result(float* p, f32x16 a, FirstLanes lanes, bool) { store(p, a, lanes); }

// Calls body(i, lanes) for i = 0, 16, 32, ... below n.
template <class Body>
DDRM_INLINE void for_lanes(int64_t n, Body&& body) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) body(i, AllLanes{});
  if (i < n) body(i, FirstLanes{n - i});
}

DDRM_INLINE u32x16 load_u16(const uint16_t* p) {
  u32x16 r;
#if defined(__AVX512F__)
  r.part[0] = (NativeU)_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)p));
#elif defined(__AVX2__)
  r.part[0] = (NativeU)_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i*)p));
  r.part[1] = (NativeU)_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i*)p + 1));
#elif defined(__aarch64__)
  for (int i = 0; i < kParts; ++i) r.part[i] = (NativeU)vmovl_u16(vld1_u16(p + 4 * i));
#else
  uint32_t wide[kLanes];
  for (int i = 0; i < kLanes; ++i) wide[i] = p[i];
  std::memcpy(&r, wide, sizeof(r));
#endif
  return r;
}

DDRM_INLINE f32x16 load_bfloat16(const uint16_t* p) {
  return as_float(shift_left<16>(load_u16(p)));
}

DDRM_INLINE f32x16 load_float16(const uint16_t* p) {
#if defined(__AVX512F__)
  f32x16 r;
  r.part[0] = (NativeF)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i*)p));
  return r;
#elif defined(__AVX2__)
  f32x16 r;
  r.part[0] = (NativeF)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)p));
  r.part[1] = (NativeF)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)p + 1));
  return r;
#elif defined(__aarch64__)
  f32x16 r;
  for (int i = 0; i < kParts; ++i) {
    r.part[i] = (NativeF)vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p + 4 * i)));
  }
  return r;
#else
  // The exponent is rebased by a product with 2^112, which also makes subnormals right; infinities
  // and NaN get the exponent of float32 instead.
  const u32x16 half = load_u16(p);
  const u32x16 magnitude = shift_left<13>(half & splat(0x7FFFu));
  const f32x16 finite = as_float(magnitude) * as_float(splat(0x77800000u));
  const f32x16 special = as_float(magnitude | splat(0x7F800000u));
  const mask16 is_finite = less(finite, f32x16(65536.0f));
  return as_float(as_bits(select(is_finite, finite, special)) |
                  shift_left<16>(half & splat(0x8000u)));
#endif
}

// Within each 128-bit lane: (a0 b0 a1 b1) and (a2 b2 a3 b3).
DDRM_INLINE void interleave_lanes(f32x16 a, f32x16 b, f32x16& first, f32x16& second) {
  for (int i = 0; i < kParts; ++i) {
    const NativeF x = a.part[i], y = b.part[i];
#if defined(__AVX512F__)
    first.part[i] = (NativeF)_mm512_unpacklo_ps((__m512)x, (__m512)y);
    second.part[i] = (NativeF)_mm512_unpackhi_ps((__m512)x, (__m512)y);
#elif defined(__AVX2__)
    first.part[i] = (NativeF)_mm256_unpacklo_ps((__m256)x, (__m256)y);
    second.part[i] = (NativeF)_mm256_unpackhi_ps((__m256)x, (__m256)y);
#else
    first.part[i] = __builtin_shufflevector(x, y, 0, 4, 1, 5);
    second.part[i] = __builtin_shufflevector(x, y, 2, 6, 3, 7);
#endif
  }
}

// (a0 a0 a1 a1 ... a7 a7) and (a8 a8 ... a15 a15).
DDRM_INLINE void duplicate_lanes(f32x16 a, f32x16& first, f32x16& second) {
#if defined(__AVX512F__)
  const NativeF x = a.part[0];
  first.part[0] = __builtin_shufflevector(x, x, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
  second.part[0] =
      __builtin_shufflevector(x, x, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13, 14, 14, 15, 15);
#else
  NativeF spread[2 * kParts];
  for (int i = 0; i < kParts; ++i) {
    const NativeF x = a.part[i];
#if defined(__AVX2__)
    spread[2 * i] = __builtin_shufflevector(x, x, 0, 0, 1, 1, 2, 2, 3, 3);
    spread[2 * i + 1] = __builtin_shufflevector(x, x, 4, 4, 5, 5, 6, 6, 7, 7);
#else
    spread[2 * i] = __builtin_shufflevector(x, x, 0, 0, 1, 1);
    spread[2 * i + 1] = __builtin_shufflevector(x, x, 2, 2, 3, 3);
#endif
  }
  for (int i = 0; i < kParts; ++i) {
    first.part[i] = spread[i];
    second.part[i] = spread[kParts + i];
  }
#endif
}

// Of the 32 numbers a, b: those at even and those at odd places.
DDRM_INLINE void split_pairs(f32x16 a, f32x16 b, f32x16& even, f32x16& odd) {
#if defined(__AVX512F__)
  const NativeF x = a.part[0], y = b.part[0];
  even.part[0] =
      __builtin_shufflevector(x, y, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  odd.part[0] =
      __builtin_shufflevector(x, y, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
#else
  NativeF source[2 * kParts];
  for (int i = 0; i < kParts; ++i) {
    source[i] = a.part[i];
    source[kParts + i] = b.part[i];
  }
  for (int i = 0; i < kParts; ++i) {
    const NativeF x = source[2 * i], y = source[2 * i + 1];
#if defined(__AVX2__)
    even.part[i] = __builtin_shufflevector(x, y, 0, 2, 4, 6, 8, 10, 12, 14);
    odd.part[i] = __builtin_shufflevector(x, y, 1, 3, 5, 7, 9, 11, 13, 15);
#else
    even.part[i] = __builtin_shufflevector(x, y, 0, 2, 4, 6);
    odd.part[i] = __builtin_shufflevector(x, y, 1, 3, 5, 7);
#endif
  }
#endif
}

#if defined(__AVX512F__)
#define DDRM_LANES(A, B, C, D) \
  A, B, C, D, 4 + A, 4 + B, 4 + C, 4 + D, 8 + A, 8 + B, 8 + C, 8 + D, 12 + A, 12 + B, 12 + C, 12 + D
#elif defined(__AVX2__)
#define DDRM_LANES(A, B, C, D) A, B, C, D, 4 + A, 4 + B, 4 + C, 4 + D
#else
#define DDRM_LANES(A, B, C, D) A, B, C, D
#endif

// Complex numbers as pairs (re, im): (re re), (im im) and (im re) of each pair.
#define DDRM_PERMUTE(NAME, ...)                                                           \
  DDRM_INLINE f32x16 NAME(f32x16 a) {                                                     \
    for (int i = 0; i < kParts; ++i) {                                                    \
      a.part[i] = __builtin_shufflevector(a.part[i], a.part[i], DDRM_LANES(__VA_ARGS__)); \
    }                                                                                     \
    return a;                                                                             \
  }
DDRM_PERMUTE(real_parts, 0, 0, 2, 2)
DDRM_PERMUTE(imaginary_parts, 1, 1, 3, 3)
DDRM_PERMUTE(swap_parts, 1, 0, 3, 2)
#undef DDRM_PERMUTE
#undef DDRM_LANES

// The sign bit of every real (imaginary) part.
DDRM_INLINE u32x16 real_signs() {
  u32x16 r;
  for (int i = 0; i < kParts; ++i) r.part[i] = (NativeU)(0x80000000u - NativeQ{});
  return r;
}
DDRM_INLINE u32x16 imaginary_signs() { return real_signs() ^ splat(0x80000000u); }

DDRM_INLINE f32x16 operator^(f32x16 a, u32x16 bits) { return as_float(as_bits(a) ^ bits); }

}  // namespace ddrm_fast::DDRM_FAST_ISA
