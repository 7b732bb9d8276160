#include "channel_common.h"
#include "kernels.h"

namespace ddrm_fast::DDRM_FAST_ISA {
namespace {

// Columns of a strip: its rows of both halves stay in the second cache.
constexpr int64_t kStrip = 2048;
constexpr int64_t kBandRows = 32;

}  // namespace

void gated_depthwise(const Threaded<GatedDepthwise>& a) {
  const Extent& e = a.extent;
  const int64_t strip = e.width < kStrip ? e.width : kStrip;
  const int64_t strips = (e.width + strip - 1) / strip;
  const int64_t bands = (e.height + kBandRows - 1) / kBandRows;
  const int64_t rows = e.height + 2 - a.depthwise.top - a.depthwise.bottom;
  const bool stream = streams(a.y, e);
  const int64_t tasks = e.batch * e.channels * bands * strips;
  parallel(tasks, e.batch * e.channels * e.height * e.width, a.threads, [&](int64_t task) {
    const int64_t plane = task / (bands * strips), part = task % (bands * strips);
    const int64_t b = plane / e.channels, c = plane % e.channels;
    const int64_t left = part % strips * strip;
    const int64_t n = e.width - left < strip ? e.width - left : strip;
    const int64_t first = part / strips * kBandRows;
    const int64_t end = first + kBandRows < e.height ? first + kBandRows : e.height;
    const int64_t size = Strip::memory(kBlockRows + 2, strip);
    float* memory = thread_scratch(size + kBlockRows * Strip::stride(strip));
    float* gates = memory + size;
    const Strip one{a.x, b, c, rows, e.width, left, n};
    const Strip two{a.x, b, e.channels + c, rows, e.width, left, n};
    const Stencil first_half(a.depthwise, c), second_half(a.depthwise, e.channels + c);
    for (int64_t r = first; r < end; r += kBlockRows) {
      const int count = static_cast<int>(end - r < kBlockRows ? end - r : kBlockRows);
      two.for_columns<kBlockRows + 2>(r - a.depthwise.top, memory,
                                      [&](int64_t i, int64_t at, auto, const auto& x) {
                                        f32x16 v[kBlockRows];
                                        second_half.apply(x, at, v);
                                        for (int k = 0; k < kBlockRows; ++k)
                                          store(gates + k * Strip::stride(strip) + i, v[k]);
                                      });
      const Targets<kBlockRows> y(a.y, b, c, r * e.width + left, e.width, stream);
      one.for_columns<kBlockRows + 2>(
          r - a.depthwise.top, memory, [&](int64_t i, int64_t at, auto lanes, const auto& x) {
            f32x16 u[kBlockRows];
            first_half.apply(x, at, u);
            for (int k = 0; k < kBlockRows; ++k) {
              u[k] = gelu(u[k]) * load(gates + k * Strip::stride(strip) + i);
            }
            y.put(i, u, count, lanes);
          });
    }
    if (stream) finish_stream();
  });
}

namespace {

// One channel pair and one band of rows: gradients of the convolution's two halves for a row above
// and a row below as well, and the band's sums for the weights.
struct PairBackward {
  const GatedDepthwiseBackward& a;
  int64_t b, c, first, end;
  int64_t line;
  float *one, *two, *da, *db;  // three rows each
  float* grad;
  f32x16 sums[2][10];

  Rows<3> rows(const float* from) const { return {{from, from + line, from + 2 * line}}; }

  // The three rows around row r of x, and (da, db) of row r, in place k.
  void gradients(int64_t r, int64_t k) {
    const Extent& e = a.extent;
    const int64_t width = e.width, other = e.channels + c;
    float *du = da + k * line, *dv = db + k * line;
    du[-1] = du[width] = dv[-1] = dv[width] = 0.0f;
    if (r < 0 || r >= e.height) {
      std::memset(du, 0, static_cast<size_t>(width) * sizeof(float));
      std::memset(dv, 0, static_cast<size_t>(width) * sizeof(float));
      return;
    }
    for (int64_t i = 0; i < 3; ++i) {
      Strip{a.x, b, c, e.height, width, 0, width}.copy(one + i * line - 1, r + i - 1, -1,
                                                       width + 2);
      Strip{a.x, b, other, e.height, width, 0, width}.copy(two + i * line - 1, r + i - 1, -1,
                                                           width + 2);
    }
    const Rows<3> x_one = rows(one), x_two = rows(two);
    read_floats(grad, a.grad, b, c, r * width, width);
    const Stencil first_half(a.depthwise, c), second_half(a.depthwise, other);
    const bool inside = r >= first && r < end;
    for_lanes(width, [&](int64_t i, auto lanes) {
      f32x16 u[1], v[1];
      first_half.apply(x_one, i, u);
      second_half.apply(x_two, i, v);
      const f32x16 g = load(grad + i, lanes);  // 0 beyond the row
      const f32x16 for_u = g * v[0] * gelu_derivative<u32x16>(u[0]), for_v = g * gelu(u[0]);
      store(du + i, for_u, lanes);
      store(dv + i, for_v, lanes);
      if (!inside) return;
      for (int k = 0; k < 9; ++k) {
        sums[0][k] = sums[0][k] + for_u * load(x_one.at(k / 3) + i + k % 3 - 1);
        sums[1][k] = sums[1][k] + for_v * load(x_two.at(k / 3) + i + k % 3 - 1);
      }
      sums[0][9] = sums[0][9] + for_u;
      sums[1][9] = sums[1][9] + for_v;
    });
  }

  // The transposed convolution: the stencil turned by half a turn.
  void write(int64_t r, const float* d, int64_t channel) const {
    const Rows<3> around = rows(d);
    Stencil turned;
    for (int i = 0; i < 9; ++i) turned.weight[i] = f32x16(a.depthwise.weight[channel * 9 + 8 - i]);
    turned.bias = f32x16(0.0f);
    const Target dx(a.dx, b, channel, r * a.extent.width);
    for_lanes(a.extent.width, [&](int64_t i, auto lanes) {
      f32x16 y[1];
      turned.apply(around, i, y);
      dx.put(i, y[0], lanes);
    });
  }
};

}  // namespace

void gated_depthwise_backward(const Threaded<GatedDepthwiseBackward>& a) {
  const Extent& e = a.extent;
  const int64_t bands = (e.height + a.band - 1) / a.band, line = Strip::stride(e.width);
  const int64_t tasks = e.batch * bands * e.channels;
  parallel(tasks, e.batch * e.channels * e.height * e.width, a.threads, [&](int64_t task) {
    const int64_t c = task % e.channels, band = task / e.channels;
    const int64_t b = band / bands, first = band % bands * a.band;
    const int64_t end = first + a.band < e.height ? first + a.band : e.height;
    float* memory = thread_scratch(13 * line);
    std::memset(memory, 0, static_cast<size_t>(13 * line) * sizeof(float));
    float* rows = memory + kLanes;
    PairBackward pair{a,
                      b,
                      c,
                      first,
                      end,
                      line,
                      rows,
                      rows + 3 * line,
                      rows + 6 * line,
                      rows + 9 * line,
                      rows + 12 * line,
                      {}};
    for (auto& half : pair.sums) {
      for (f32x16& sum : half) sum = f32x16(0.0f);
    }
    for (int64_t r = first - 1; r <= end; ++r) {
      if (r > first + 1) {  // the three places move up
        std::memmove(pair.da - 1, pair.da + line - 1, 2 * line * sizeof(float));
        std::memmove(pair.db - 1, pair.db + line - 1, 2 * line * sizeof(float));
      }
      pair.gradients(r, r <= first ? r - first + 1 : 2);
      if (r <= first) continue;
      pair.write(r - 1, pair.da, c);
      pair.write(r - 1, pair.db, e.channels + c);
    }
    float* partial = a.partial + band * 2 * e.channels * 10;
    for (int k = 0; k < 10; ++k) {
      partial[c * 10 + k] = sum_of_lanes(pair.sums[0][k]);
      partial[(e.channels + c) * 10 + k] = sum_of_lanes(pair.sums[1][k]);
    }
  });
}

}  // namespace ddrm_fast::DDRM_FAST_ISA
