#include "launch.h"
#include "spectral_common.h"

namespace ddrm_fast::cuda {
namespace {

__device__ __forceinline__ Complex operator+(Complex a, Complex b) {
  return {a.re + b.re, a.im + b.im};
}
__device__ __forceinline__ Complex operator*(float a, Complex b) { return {a * b.re, a * b.im}; }
__device__ __forceinline__ Complex operator*(Complex a, Complex b) {
  return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
}
__device__ __forceinline__ Complex conjugate(Complex a) { return {a.re, -a.im}; }

// Sums of kernel times x0, eps and z over the members of a group.
struct GroupSums {
  Complex x0, eps, z;
};

struct Products {
  Complex x0, eps, z;
};

// What is read of a member: state, network output and kernel.
struct Member {
  Complex x_t, out, kernel;
};

__device__ __forceinline__ void add(GroupSums& sums, const Products& p) {
  sums.x0 = sums.x0 + p.x0;
  sums.eps = sums.eps + p.eps;
  sums.z = sums.z + p.z;
}

__device__ __forceinline__ void add_conjugate(GroupSums& sums, const Products& p) {
  add(sums, {conjugate(p.x0), conjugate(p.eps), conjugate(p.z)});
}

// The stored coefficients of one or two groups, which no other thread touches.
//
// A group (p, q) of the measured half grid has r^2 members. Those in columns up to width / 2 are
// stored; of the others the conjugates are, as coefficients of the mirrored group (-p, -q). Where q
// is no mirror of itself, (-p, -q) lies outside the measured half, and the thread owns what is
// stored of both. In a column q that is its own mirror both groups lie inside, and one thread works
// on the two: x_next may be x_t, so a coefficient must not be written before all have read it.
class Group {
 public:
  __device__ __forceinline__ Group(const StepArguments& step, const AliasArguments& alias,
                                   int64_t b, int64_t c, int64_t p, int64_t q)
      : step_(step),
        alias_(alias),
        row_(row_of_image(step.table, b)),
        b_(b),
        c_(c),
        height_(step.extent.height / alias.factor),
        width_(alias.width / alias.factor),
        both_inside_(own_mirror(q, width_)) {
    p_[0] = p;
    p_[1] = (height_ - p) % height_;
    q_[0] = q;
    q_[1] = (width_ - q) % width_;
    sides_ = both_inside_ && p_[0] == p_[1] ? 1 : 2;
  }

  // Whether another thread works on this group.
  __device__ __forceinline__ bool elsewhere() const { return both_inside_ && p_[0] > p_[1]; }

  __device__ __forceinline__ void run() const {
    if (row_ == nullptr) {
      const float nan = __builtin_nanf("");
      return for_stored([&](int, int64_t h, int64_t k) {
        store_complex(step_.x_next + offset(h, k), {nan, nan});
      });
    }
    GroupSums sums[2] = {};
    const bool measures = step_.u.data != nullptr;
    for_read([&](int side, int64_t h, int64_t k, const Member& member) {
      const Products products = null_and_products(h, k, member);
      if (!measures) return;
      if (!both_inside_) {
        side == 0 ? add(sums[0], products) : add_conjugate(sums[0], products);
        return;
      }
      add(sums[side], products);
      if (own_mirror(k, alias_.width)) return;
      // (one place or the other, not the place of one of them: that would lie in local memory)
      if (sides_ == 1) {
        add_conjugate(sums[side], products);
      } else {
        add_conjugate(sums[1 - side], products);
      }
    });
    if (!measures) return;

    Complex changes[2];
    changes[0] = change<0>(sums[0]);
    changes[1] = both_inside_ && sides_ == 2 ? change<1>(sums[1]) : conjugate(changes[0]);
    // X_next_j = N_j + conj(w_j) times the change of its group.
    for_stored([&](int side, int64_t h, int64_t k) {
      float* x = step_.x_next + offset(h, k);
      const Complex lifted = changes[side] * conjugate(kernel(h, k));
      store_complex(x, load_complex(x) + lifted);
    });
  }

 private:
  // function(side, h, k), the side a constant: what it indexes then stays in registers.
  template <class Function>
  __device__ __forceinline__ void for_stored(const Function& function) const {
    for_side<0>(function);
    if (sides_ == 2) for_side<1>(function);
  }

  template <int kSide, class Function>
  __device__ __forceinline__ void for_side(const Function& function) const {
    for (int64_t h = p_[kSide]; h < step_.extent.height; h += height_) {
      for (int64_t k = q_[kSide]; k < step_.extent.width; k += width_) function(kSide, h, k);
    }
  }

  // The same with what is read of each; the next member is on its way while one is worked on.
  template <class Function>
  __device__ __forceinline__ void for_read(const Function& function) const {
    read_side<0>(function);
    if (sides_ == 2) read_side<1>(function);
  }

  template <int kSide, class Function>
  __device__ __forceinline__ void read_side(const Function& function) const {
    int64_t h = p_[kSide], k = q_[kSide];
    if (k >= step_.extent.width) return;
    Member next = read(h, k);
    while (h < step_.extent.height) {
      const Member member = next;
      const int64_t this_h = h, this_k = k;
      k += width_;
      if (k >= step_.extent.width) {
        k = q_[kSide];
        h += height_;
      }
      if (h < step_.extent.height) next = read(h, k);
      function(kSide, this_h, this_k, member);
    }
  }

  __device__ __forceinline__ Member read(int64_t h, int64_t k) const {
    Member member{};
    if (step_.x_t != nullptr) {
      const int64_t at = offset(h, k);
      member.x_t = load_complex(step_.x_t + at);
      member.out = load_complex(static_cast<const float*>(step_.out.data) + at);
    }
    if (step_.u.data != nullptr) member.kernel = kernel(h, k);
    return member;
  }

  __device__ __forceinline__ int64_t offset(int64_t h, int64_t k) const {
    const Extent& e = step_.extent;
    return 2 * (((b_ * e.channels + c_) * e.height + h) * e.width + k);
  }

  __device__ __forceinline__ Complex kernel(int64_t h, int64_t k) const {
    return load_complex(row_of(alias_.kernel, b_, c_, h) + k * alias_.kernel.stride[3]);
  }

  __device__ __forceinline__ Complex noise(int64_t h, int64_t k) const {
    if (step_.noise != nullptr) return load_complex(step_.noise + offset(h, k));
    return hermitian_normal(step_, alias_.width, b_, c_, h, k);
  }

  // Writes N = (a_null X0 + b_null EPS) + d_null Z, where it waits for the change, and returns the
  // products of X0, EPS and Z with the kernel.
  __device__ __forceinline__ Products null_and_products(int64_t h, int64_t k,
                                                        const Member& member) const {
    Complex x0{}, eps{}, z{};
    if (step_.x_t != nullptr) {
      const Complex x_t = member.x_t, out = member.out;
      const Prediction<float> re = predict<Predict::kAny>(*row_, x_t.re, out.re);
      const Prediction<float> im = predict<Predict::kAny>(*row_, x_t.im, out.im);
      x0 = {re.x0, im.x0};
      eps = {re.eps, im.eps};
    }
    Complex n = row_->null_a * x0 + row_->null_b * eps;
    if (draws_noise(*row_)) {
      z = noise(h, k);
      n = n + row_->null_d * z;
    }
    store_complex(step_.x_next + offset(h, k), n);
    if (step_.u.data == nullptr) return {};
    const Complex w = member.kernel;
    return {x0 * w, eps * w, z * w};
  }

  // ((a - a_null) <w, X0> + (b - b_null) <w, EPS> + c U + (d - d_null) <w, Z>) / (s r); 0 where
  // nothing is measured.
  template <int kSide>
  __device__ __forceinline__ Complex change(const GroupSums& sums) const {
    const float s = row_of(step_.s, b_, c_, p_[kSide])[q_[kSide] * step_.s.stride[3]];
    if (!(s > 0.0f)) return {0.0f, 0.0f};
    const Complex u =
        load_complex(row_of(step_.u, b_, c_, p_[kSide]) + q_[kSide] * step_.u.stride[3]);
    const Weights<float> null = null_weights<float>(*row_), w = measured_weights(*row_, s);
    const float scale = 1.0f / (s * static_cast<float>(alias_.factor));
    Complex change = (w.a - null.a) * (scale * sums.x0) + (w.b - null.b) * (scale * sums.eps);
    change = change + w.c * u;
    if (draws_noise(*row_)) change = change + (w.d - null.d) * (scale * sums.z);
    return scale * change;
  }

  const StepArguments& step_;
  const AliasArguments& alias_;
  const Row* row_;
  int64_t b_, c_;
  int64_t height_, width_;  // of the measured grid
  bool both_inside_;
  int64_t p_[2], q_[2];
  int sides_;
};

constexpr unsigned kBlockThreads = 128;

// A thread for each group of the measured half grid.
__global__ void __launch_bounds__(kBlockThreads, 5)
    alias_step_kernel(const __grid_constant__ StepArguments a,
                      const __grid_constant__ AliasArguments alias) {
  const Extent& e = a.extent;
  const int64_t height = e.height / alias.factor, half = alias.width / alias.factor / 2 + 1;
  const Split place = split(thread_index(), half);
  if (place.quotient >= height) return;
  for (int64_t plane = blockIdx.y; plane < e.batch * e.channels; plane += gridDim.y) {
    const PlaneIndex index = plane_index(plane, e.channels);
    const Group group(a, alias, index.b, index.c, place.quotient, place.remainder);
    if (!group.elsewhere()) group.run();
  }
}

}  // namespace

// One affine step for a blur followed by decimation by r: the r^2 frequencies that alias form a
// group with unit direction w_j = kernel_j / (s r), <w, V> = sum_j w_j V_j:
//   N_j = a_null X0_j + b_null EPS_j + d_null Z_j
//   X_next_j = N_j + conj(w_j) ((a - a_null) <w, X0> + (b - b_null) <w, EPS> + c U
//                               + (d - d_null) <w, Z>)
// X (B, C, H, width / 2 + 1) and kernel (1 or B, 1 or C, H, width / 2 + 1) complex64; on the
// measured half grid (H / r, width / r / 2 + 1): U (B or 1, C, ...) complex64 and s (1 or B, 1 or
// C, ...). Moves 8 bytes a coefficient for each of x_t, out and x_next, which is touched again
// while it is still in a cache.
void alias_step(const StepArguments& a, const AliasArguments& alias, const Place& place) {
  const Extent& e = a.extent;
  const int64_t groups = e.height / alias.factor * (alias.width / alias.factor / 2 + 1);
  const LaunchShape shape = over_planes(groups, e.batch * e.channels, kBlockThreads);
  launch("alias_step", alias_step_kernel, shape, place, a, alias);
}

}  // namespace ddrm_fast::cuda
