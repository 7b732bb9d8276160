// Runs every CPU kernel of one instruction set on the same numbers and prints a digest of each
// result, so that two processors, or one and its emulation, can be compared bit by bit. Knows
// nothing of Python: it is compiled for a processor that is not there.
#include <cstdio>
#include <cstring>
#include <vector>

#include "cpu/kernels.h"

#define DDRM_NAME_OF(ISA) #ISA
#define DDRM_NAME(ISA) DDRM_NAME_OF(ISA)

namespace ddrm_fast {
namespace {

namespace isa = DDRM_FAST_ISA;
using Floats = std::vector<float>;

// Numbers that are the same on every processor: integers of Philox, scaled by powers of two.
class Source {
 public:
  float next() {  // in [-1, 1)
    if (at_ == 4) {
      words_ = philox4x32({{count_++, 1, 2, 3}}, 5, 6);
      at_ = 0;
    }
    return static_cast<float>(static_cast<int32_t>(words_.word[at_++]) >> 8) * 0x1p-23f;
  }
  Floats floats(int64_t n) {
    Floats v(n);
    for (float& x : v) x = next();
    return v;
  }
  Floats positive(int64_t n, float zeros) {
    Floats v(n);
    for (float& x : v) {
      x = next();
      x = x < 2.0f * zeros - 1.0f ? 0.0f : (x + 1.0f) * 0.5f + 0x1p-5f;
    }
    return v;
  }

 private:
  PhiloxWords words_{};
  uint32_t count_ = 0;
  int at_ = 4;
};

Source source;

void report(const char* name, int64_t number, const void* data, size_t bytes) {
  uint64_t hash = 14695981039346656037u;  // FNV-1a
  const unsigned char* p = static_cast<const unsigned char*>(data);
  for (size_t i = 0; i < bytes; ++i) hash = (hash ^ p[i]) * 1099511628211u;
  std::printf("%s %lld %016llx\n", name, static_cast<long long>(number),
              static_cast<unsigned long long>(hash));
}

void report(const char* name, int64_t number, const Floats& v) {
  report(name, number, v.data(), v.size() * sizeof(float));
}

struct RowChoice {
  bool clip, rational, noise, eps;
};

Row some_row(const RowChoice& choice) {
  Row row;
  float* numbers = reinterpret_cast<float*>(&row);
  for (int i = 0; i < kRowWidth; ++i) numbers[i] = source.next();
  row.clip_lo = choice.clip ? -0.5f : -__builtin_inff();
  row.clip_hi = choice.clip ? 0.625f : __builtin_inff();
  row.thr = 0.4f;
  if (choice.eps) row.q_x = 0.0f, row.q_out = 1.0f;
  row.rational = choice.rational ? 1.0f : 0.0f;
  for (Branch* b : {&row.low, &row.high}) {
    b->d0 = 2.0f + b->d0;
    b->p = 1.5f + b->p;
    b->q = 1.5f + b->q;
    b->over_a = b->over_a > 0.0f;
    b->over_d = b->over_d > 0.0f;
    if (!choice.noise) b->d0 = b->d1 = b->d2 = 0.0f;
  }
  if (!choice.noise) row.null_d = 0.0f;
  return row;
}

FloatField field(const Floats& v, int64_t c, int64_t h, int64_t w) {
  return {v.data(), {c * h * w, h * w, w, 1}};
}

// A step of images or half spectra with everything that it reads.
struct Step {
  Floats x_t, out, u, s, x_next, x0;
  std::vector<uint16_t> half;
  std::vector<Row> rows;
  std::vector<NoiseKey> keys;
  StepArguments a{};

  Step(Extent e, Extent grid, int numbers, const RowChoice& choice, int threads) {
    const int64_t n = e.batch * e.channels * e.height * e.width * numbers;
    x_t = source.floats(n);
    out = source.floats(n);
    u = source.floats(e.batch * grid.channels * grid.height * grid.width * numbers);
    s = source.positive(e.batch * grid.channels * grid.height * grid.width, 0.3f);
    x_next.assign(n, 0.0f);
    x0.assign(n, 0.0f);
    for (int64_t b = 0; b < e.batch; ++b) {
      rows.push_back(some_row(choice));
      keys.push_back({(int64_t{1} << 40) + b, 7 + b, 3, b == 0 ? (int64_t{1} << 32) - 5 : 2});
    }
    a.extent = e;
    a.x_next = x_next.data();
    a.x_t = x_t.data();
    a.out = {out.data(), OutputType::kFloat32, e.channels * e.height * e.width, e.height * e.width};
    a.u = field(u, grid.channels, grid.height, grid.width * numbers);
    a.s = field(s, grid.channels, grid.height, grid.width);
    a.keys = keys.data();
    a.rows = rows.data();
    a.row_stride = 1;
    a.iteration = 9;
    a.threads = threads;
  }

  void half_output(OutputType type) {
    half.resize(out.size());
    for (size_t i = 0; i < out.size(); ++i) {
      uint32_t bits;
      std::memcpy(&bits, &out[i], sizeof(bits));
      // (any pattern of float16 but NaN; the upper half of a float32 is a bfloat16)
      half[i] = static_cast<uint16_t>(type == OutputType::kBFloat16 ? bits >> 16 : bits & 0xFBFFu);
    }
    a.out.data = half.data();
    a.out.type = type;
  }
};

const RowChoice kChoices[] = {
    {false, false, true, false}, {true, false, true, false},  {false, true, true, true},
    {true, true, false, true},   {false, false, false, true},
};

void pointwise(int64_t& number) {
  for (const RowChoice& choice : kChoices) {
    for (const Extent& e : {Extent{2, 3, 5, 67}, Extent{1, 2, 3, 1100}, Extent{1, 1, 40, 2048}}) {
      for (int kind = 0; kind < 5; ++kind) {
        Step step(e, e, 1, choice, kind == 0 ? 1 : 3);
        if (kind == 1) {
          for (float& s : step.s) s = s > 0.5f ? 1.0f : 0.0f;
        }
        if (kind == 2) step.a.s = {step.s.data(), {0, 0, 0, 0}};
        if (kind == 3) step.half_output(OutputType::kFloat16);
        if (kind == 4) step.half_output(OutputType::kBFloat16), step.a.u.data = nullptr;
        step.a.x0 = step.x0.data();
        isa::pointwise_step(step.a);
        report("pointwise_step", number, step.x_next);
        report("pointwise_step x0", number++, step.x0);
      }
    }
  }
}

void known(int64_t& number) {
  for (const RowChoice& choice : kChoices) {
    const Extent e{2, 3, 5, 67};
    Step step(e, e, 1, choice, 2);
    std::vector<uint8_t> mask(e.height * e.width);
    for (uint8_t& m : mask) m = source.next() > 0.0f;
    isa::known_step(step.a, {mask.data(), {0, 0, e.width, 1}});
    report("known_step", number++, step.x_next);
  }
}

void blocks(int64_t& number) {
  for (const RowChoice& choice : kChoices) {
    for (int64_t factor : {1, 2, 3, 4}) {
      for (int kind = 0; kind < 4; ++kind) {
        const Extent e{2, 3, 2 * factor, 37 * factor};
        const bool grey = kind % 2 == 1, masked = kind >= 2;
        const Extent grid{2, grey ? 1 : 3, 2, 37};
        const Floats weights = source.positive(3, 0.0f), mask = source.floats(e.height * e.width);
        Step step(e, grid, 1, choice, 2);
        if (kind == 0 || kind == 3) step.a.s = {step.s.data(), {0, 0, 0, 0}};
        const BlockProfile profile{grey ? weights.data() : nullptr,
                                   {masked ? mask.data() : nullptr, {0, 0, e.width, 1}},
                                   factor};
        isa::block_step(step.a, profile);
        report("block_step", number, step.x_next);
        Floats c(2 * grid.channels * grid.height * grid.width);
        BlockArguments measure{{e, step.x_t.data(), c.data(), step.a.s, profile}, 2};
        isa::block_measure(measure);
        report("block_measure", number, c);
        measure.x = step.x_next.data();
        isa::block_lift(measure);
        report("block_lift", number++, step.x_next);
      }
    }
  }
}

void spectra(int64_t& number) {
  for (const RowChoice& choice : kChoices) {
    if (choice.clip) continue;
    for (int64_t width : {9, 24, 1200}) {
      const int64_t factor = 3, height = 6;
      const Extent e{2, 2, height, width / 2 + 1};
      Step step(e, e, 2, choice, 2);
      isa::spectral_step(step.a, width);
      report("spectral_step", number, step.x_next);
      const Extent grid{2, 2, height / factor, width / factor / 2 + 1};
      Step aliased(e, grid, 2, choice, 2);
      const Floats kernel = source.floats(2 * e.height * e.width);
      isa::alias_step(aliased.a, {{kernel.data(), {0, 0, 2 * e.width, 1}}, factor, width});
      report("alias_step", number++, aliased.x_next);
    }
  }
}

void transforms(int64_t& number) {
  for (int bits : {0, 3, 5, 8, 11, 14, 18}) {
    const int64_t n = int64_t{1} << bits;
    const Floats x = source.floats(2 * n);
    Floats y(2 * n);
    isa::fwht(y.data(), x.data(), 2, n, 2);
    report("fwht", number++, y);
  }
  for (const DctExtent& e :
       {DctExtent{2, 5, 7, 1}, DctExtent{1, 8, 36, 4}, DctExtent{3, 9, 15, 3}}) {
    const int64_t half = e.width / 2 + 1, n = e.planes * e.height * e.width;
    const Floats x = source.floats(n), v = source.floats(2 * e.planes * e.height * half);
    const Floats t = source.floats(2 * (e.height + e.width));
    const DctTwiddles twiddles{t.data(), t.data() + 1};
    Floats to(n), spectrum(v.size());
    isa::dct_fold(to.data(), x.data(), e, 2);
    report("dct_fold", number, to);
    isa::dct_unfold(to.data(), x.data(), e, 2);
    report("dct_unfold", number, to);
    isa::dct_twist(to.data(), v.data(), twiddles, e, 2);
    report("dct_twist", number, to);
    isa::dct_untwist(spectrum.data(), x.data(), twiddles, e, 2);
    report("dct_untwist", number++, spectrum);
  }
}

void rest(int64_t& number) {
  for (const RowChoice& choice : kChoices) {
    const Extent e{2, 3, 5, 67};
    Step step(e, e, 1, choice, 2);
    isa::predict_x0({{e, step.x0.data(), step.x_t.data(), step.a.out}, step.a.rows, 1, 2});
    report("predict_x0", number, step.x0);
    isa::normal({{e, step.x0.data(), step.keys.data(), number, 1}, 3});
    report("normal", number++, step.x0);
  }
}

Planes planes(Floats& v, int64_t channels, int64_t h, int64_t w) {
  return {v.data(), OutputType::kFloat32, channels * h * w, h * w};
}

void networks(int64_t& number) {
  for (int64_t width : {5, 40, 131}) {
    const Extent e{2, 8, 6, width};
    const int64_t n = e.batch * e.channels * e.height * e.width;
    Floats x = source.floats(3 * n), y(n);
    const Floats gain = source.floats(8), offset = source.floats(8);
    const Floats weight = source.floats(9 * 24), bias = source.floats(24);
    for (bool centred : {false, true}) {
      isa::channel_norm({{e, planes(x, 8, 6, width), planes(y, 8, 6, width), gain.data(), 0,
                          offset.data(), 0, centred, 1e-5f},
                         2});
      report("channel_norm", number, y);
    }
    const Depthwise depthwise{weight.data(), bias.data(), 1, 1};
    isa::gated_depthwise({{e, planes(x, 16, 6, width), planes(y, 8, 6, width), depthwise}, 2});
    report("gated_depthwise", number, y);
    const int64_t heads = 2, each = 4, band = 3, parts = 2;
    Floats gram(2 * parts * heads * each * each), squares(2 * parts * 2 * 8);
    isa::depthwise_gram({{e, planes(x, 24, 6, width), planes(y, 8, 6, width), depthwise, heads,
                          band, gram.data(), squares.data()},
                         2});
    report("depthwise_gram", number, y);
    report("depthwise_gram sums", number, gram);
    report("depthwise_gram squares", number++, squares);
  }
}

}  // namespace
}  // namespace ddrm_fast

int main() {
  int64_t number = 0;
  std::fprintf(stderr, "%s\n", DDRM_NAME(DDRM_FAST_ISA));
  ddrm_fast::pointwise(number);
  ddrm_fast::known(number);
  ddrm_fast::blocks(number);
  ddrm_fast::spectra(number);
  ddrm_fast::transforms(number);
  ddrm_fast::rest(number);
  ddrm_fast::networks(number);
  return 0;
}
