#include "channel_common.h"
#include "kernels.h"

namespace ddrm_fast::DDRM_FAST_ISA {
namespace {

// Columns of a strip; with four rows of them, the channels of q and k stay in the second cache.
constexpr int64_t kStrip = 128;
// Pixels of one product: its channels stay in the first cache.
constexpr int64_t kPixels = 256;
// A block of products in registers: so many channels of q by so many of k.
#if defined(__AVX512F__)
constexpr int kSide = 4;
#else
constexpr int kSide = 2;
#endif
constexpr int64_t kRound = 4;  // channels are filled up to multiples of this with zeros

int64_t round_up(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

// products[i][j][lane] += q[i][p] k[j][p] over the pixels p of this lane, in their order.
DDRM_INLINE void multiply_block(const float* q, const float* k, int64_t stride, int64_t pixels,
                                float* products, int64_t channels) {
  f32x16 sum[kSide][kSide];
  for (int i = 0; i < kSide; ++i) {
    for (int j = 0; j < kSide; ++j) sum[i][j] = load(products + (i * channels + j) * kLanes);
  }
  for (int64_t p = 0; p < pixels; p += kLanes) {
    f32x16 right[kSide];
    for (int j = 0; j < kSide; ++j) right[j] = load(k + j * stride + p);
    for (int i = 0; i < kSide; ++i) {
      const f32x16 left = load(q + i * stride + p);
      for (int j = 0; j < kSide; ++j) sum[i][j] = sum[i][j] + left * right[j];
    }
  }
  for (int i = 0; i < kSide; ++i) {
    for (int j = 0; j < kSide; ++j) store(products + (i * channels + j) * kLanes, sum[i][j]);
  }
}

// Lanes beyond a row count nothing.
DDRM_INLINE f32x16 only(f32x16 a, AllLanes) { return a; }
DDRM_INLINE f32x16 only(f32x16 a, FirstLanes lanes) {
  float buffer[kLanes] = {};
  store(buffer, a, lanes);
  return load(buffer);
}

// One head, one band of rows of a picture. Channels of q and k, and their products, are filled up
// with zeros.
class Task {
 public:
  Task(const DepthwiseGram& a, int64_t b, int64_t head, int64_t first, int64_t end, bool stream)
      : a_(a),
        b_(b),
        head_(head),
        first_(first),
        end_(end),
        stream_(stream),
        width_(a.extent.channels / a.heads),
        filled_(round_up(width_, kRound)),
        strip_(a.extent.width < kStrip ? a.extent.width : kStrip),
        // an odd number of cache lines, so that channels do not share sets
        stride_(kBlockRows * round_up(strip_, kLanes) + kLanes) {
    const int64_t rows = Strip::memory(kBlockRows + 2, strip_);
    const int64_t total =
        rows + 2 * filled_ * stride_ + filled_ * filled_ * kLanes + 2 * width_ * kLanes;
    rows_ = thread_scratch(total);
    std::memset(rows_, 0, static_cast<size_t>(total) * sizeof(float));
    q_ = rows_ + rows;
    k_ = q_ + filled_ * stride_;
    products_ = k_ + filled_ * stride_;
    squares_ = products_ + filled_ * filled_ * kLanes;
  }

  void run(int64_t part, int64_t parts) {
    const Extent& e = a_.extent;
    for (int64_t left = 0; left < e.width; left += strip_) {
      const int64_t n = e.width - left < strip_ ? e.width - left : strip_;
      for (int64_t r = first_; r < end_; r += kBlockRows) {
        const int64_t count = end_ - r < kBlockRows ? end_ - r : kBlockRows;
        for (int64_t i = 0; i < 3 * width_; ++i) convolve(i, r, count, left, n);
        multiply(count * round_up(n, kLanes));
      }
    }
    float* gram = a_.gram + ((b_ * parts + part) * a_.heads + head_) * width_ * width_;
    float* squares = a_.squares + (b_ * parts + part) * 2 * e.channels + head_ * width_;
    for (int64_t i = 0; i < width_; ++i) {
      for (int64_t j = 0; j < width_; ++j) {
        gram[i * width_ + j] = sum_of_lanes(load(products_ + (i * filled_ + j) * kLanes));
      }
      squares[i] = sum_of_lanes(load(squares_ + i * kLanes));
      squares[e.channels + i] = sum_of_lanes(load(squares_ + (width_ + i) * kLanes));
    }
  }

 private:
  // Channel i of q, k, v one behind the other: `count` rows from r on.
  void convolve(int64_t i, int64_t r, int64_t count, int64_t left, int64_t n) const {
    const Extent& e = a_.extent;
    const int64_t kind = i / width_, own = head_ * width_ + i % width_;
    if (kind == 2 && a_.v.data == nullptr) return;
    const int64_t channel = kind * e.channels + own;
    const int64_t height = e.height + 2 - a_.depthwise.top - a_.depthwise.bottom;
    const Strip x{a_.x, b_, channel, height, e.width, left, n};
    const int64_t first = r - a_.depthwise.top;
    // what this channel needs next, when all others have had their turn
    for (int k = 0; k < kBlockRows; ++k) x.prefetch(first + kBlockRows + 2 + k);
    const Stencil stencil(a_.depthwise, channel);
    if (kind == 2) {
      const Targets<kBlockRows> v(a_.v, b_, own, r * e.width + left, e.width, stream_);
      x.for_columns<kBlockRows + 2>(first, rows_,
                                    [&](int64_t i, int64_t at, auto lanes, const auto& rows) {
                                      f32x16 y[kBlockRows];
                                      stencil.apply(rows, at, y);
                                      v.put(i, y, static_cast<int>(count), lanes);
                                    });
      return;
    }
    float* to = (kind == 0 ? q_ : k_) + i % width_ * stride_;
    const int64_t line = round_up(n, kLanes);
    f32x16 sum = load(squares_ + i * kLanes);
    x.for_columns<kBlockRows + 2>(first, rows_,
                                  [&](int64_t w, int64_t at, auto lanes, const auto& rows) {
                                    f32x16 y[kBlockRows];
                                    stencil.apply(rows, at, y);
                                    for (int k = 0; k < kBlockRows; ++k) {
                                      if (k >= count) break;
                                      float* place = to + k * line + w;
                                      store(place, only(y[k], lanes));
                                      sum = sum + load(place) * load(place);
                                    }
                                  });
    store(squares_ + i * kLanes, sum);
  }

  void multiply(int64_t pixels) const {
    for (int64_t at = 0; at < pixels; at += kPixels) {
      const int64_t n = pixels - at < kPixels ? pixels - at : kPixels;
      for (int64_t j = 0; j < filled_; j += kSide) {
        for (int64_t i = 0; i < filled_; i += kSide) {
          multiply_block(q_ + i * stride_ + at, k_ + j * stride_ + at, stride_, n,
                         products_ + (i * filled_ + j) * kLanes, filled_);
        }
      }
    }
  }

  const DepthwiseGram& a_;
  int64_t b_, head_, first_, end_;
  bool stream_;
  int64_t width_, filled_, strip_, stride_;
  float *rows_, *q_, *k_, *products_, *squares_;
};

}  // namespace

void depthwise_gram(const Threaded<DepthwiseGram>& a) {
  const Extent& e = a.extent;
  const int64_t parts = (e.height + a.band - 1) / a.band;
  const bool stream = a.v.data != nullptr && streams(a.v, e);
  parallel(e.batch * a.heads * parts, 3 * e.batch * e.channels * e.height * e.width, a.threads,
           [&](int64_t task) {
             const int64_t head = task % a.heads, part = task / a.heads % parts;
             const int64_t first = part * a.band;
             const int64_t end = first + a.band < e.height ? first + a.band : e.height;
             Task(a, task / a.heads / parts, head, first, end, stream).run(part, parts);
             if (stream) finish_stream();
           });
}

}  // namespace ddrm_fast::DDRM_FAST_ISA
