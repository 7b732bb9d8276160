// The Python module of the CUDA kernels: pointers, shapes, strides, a device and a stream in,
// nothing of torch. It loads on a machine without a driver, and says so when asked.
//
// What lies on the device is never read here: the row of a step, its index and the keys are read by
// the kernels.
#include <cuda_runtime.h>

#include <string>

#include "binding_arguments.h"
#include "channel_arguments.h"
#include "launch.h"

#ifndef DDRM_FAST_CUDA_MODULE
#define DDRM_FAST_CUDA_MODULE _cuda
#endif
#ifndef DDRM_FAST_CUDA_ARCHITECTURES
#define DDRM_FAST_CUDA_ARCHITECTURES ""
#endif

namespace ddrm_fast::cuda {
namespace {

Place place_of(int device, Address stream) { return {device, pointer<CUstream_st>(stream)}; }

template <int kParts>
StepArguments step_of(const py::tuple& t) {
  StepArguments a;
  const TableArguments table = read_step<kParts>(a, t);
  a.table = {pointer<const Row>(table.rows), table.steps, table.batch,
             pointer<const int64_t>(table.step)};
  return a;
}

bool empty(const Extent& e) { return e.batch * e.channels * e.height * e.width == 0; }

// Why no GPU can be used, or an empty string.
std::string why_not() {
  int driver = 0, runtime = 0, devices = 0;
  cudaRuntimeGetVersion(&runtime);
  if (cudaDriverGetVersion(&driver) != cudaSuccess || driver == 0) {
    return "no NVIDIA driver is installed on this machine";
  }
  const cudaError_t status = cudaGetDeviceCount(&devices);
  cudaGetLastError();
  if (status == cudaErrorInsufficientDriver) {
    return "the NVIDIA driver supports CUDA " + std::to_string(driver / 1000) + "." +
           std::to_string(driver % 1000 / 10) + ", this build needs " +
           std::to_string(runtime / 1000) + "." + std::to_string(runtime % 1000 / 10);
  }
  if (status != cudaSuccess) return std::string("CUDA says: ") + cudaGetErrorString(status);
  return devices == 0 ? "this machine has no NVIDIA GPU" : "";
}

int runtime_version() {
  int version = 0;
  check(cudaRuntimeGetVersion(&version), "version");
  return version;
}

}  // namespace

PYBIND11_MODULE(DDRM_FAST_CUDA_MODULE, m) {
  m.doc() = "CUDA kernels of ddrm_fast; called by ddrm_fast.ops.cuda with checked arguments.";
  m.attr("ROW_WIDTH") = kRowWidth;

  m.def("runtime_version", runtime_version, "CUDA runtime of this build: 1000 major + 10 minor.");
  m.def(
      "architectures", [] { return std::string(DDRM_FAST_CUDA_ARCHITECTURES); },
      "Compute capabilities that this build carries machine code for.");
  m.def("why_not", why_not, "Why no GPU can be used here, or an empty string.");

  m.def("normal", [](Address z, const py::tuple& shape, Address keys, int64_t iteration,
                     int64_t stream_id, int device, Address stream) {
    const NormalArguments a{extent_of(shape), pointer<float>(z), pointer<const NoiseKey>(keys),
                            iteration, stream_id};
    if (!empty(a.extent)) normal(a, place_of(device, stream));
  });

  m.def("pointwise_step", [](const py::tuple& step, int device, Address stream) {
    const StepArguments a = step_of<1>(step);
    if (!empty(a.extent)) pointwise_step(a, place_of(device, stream));
  });

  m.def("block_step",
        [](const py::tuple& step, const py::tuple& profile, int device, Address stream) {
          const StepArguments a = step_of<1>(step);
          if (!empty(a.extent)) block_step(a, profile_of(profile), place_of(device, stream));
        });

  m.def("spectral_step", [](const py::tuple& step, int64_t width, int device, Address stream) {
    const StepArguments a = step_of<2>(step);
    if (!empty(a.extent)) spectral_step(a, width, place_of(device, stream));
  });

  m.def("alias_step", [](const py::tuple& step, Address kernel, const py::tuple& kernel_shape,
                         int64_t factor, int64_t width, int device, Address stream) {
    const StepArguments a = step_of<2>(step);
    const AliasArguments alias{field_of(kernel, kernel_shape, 2), factor, width};
    if (!empty(a.extent)) alias_step(a, alias, place_of(device, stream));
  });

  m.def("known_step", [](const py::tuple& step, Address mask, const py::tuple& mask_shape,
                         int device, Address stream) {
    const StepArguments a = step_of<1>(step);
    const MaskField known = field_of<uint8_t>(mask, mask_shape);
    if (!empty(a.extent)) known_step(a, known, place_of(device, stream));
  });

  m.def("block_measure",
        [](Address c, Address x, const py::tuple& shape, Address s, const py::tuple& s_shape,
           const py::tuple& profile, int device, Address stream) {
          const BlockArguments a = block_of(x, shape, c, s, s_shape, profile);
          if (!empty(a.extent)) block_measure(a, place_of(device, stream));
        });

  m.def("block_lift",
        [](Address x, const py::tuple& shape, Address c, Address s, const py::tuple& s_shape,
           const py::tuple& profile, int device, Address stream) {
          const BlockArguments a = block_of(x, shape, c, s, s_shape, profile);
          if (!empty(a.extent)) block_lift(a, place_of(device, stream));
        });

  m.def("fwht", [](Address y, Address x, int64_t planes, int64_t length, int device,
                   Address stream) {
    if (length < 1 || (length & (length - 1)) != 0) {
      throw std::invalid_argument("length: expected a power of two, got " + std::to_string(length));
    }
    if (planes > 0) {
      fwht(pointer<float>(y), pointer<const float>(x), planes, length, place_of(device, stream));
    }
  });

  m.def("fwht_passes", fwht_passes,
        "Passes over memory for planes of so many numbers: fwht_step needs scratch for two.");

  m.def("fwht_step", [](const py::tuple& step, Address scratch, int device, Address stream) {
    const StepArguments a = step_of<1>(step);
    const int64_t length = a.extent.height * a.extent.width;
    const bool fits = a.extent.width >= 4 && (a.extent.width & (a.extent.width - 1)) == 0 &&
                      length >= 32 && (length & (length - 1)) == 0;
    if (!fits) {
      throw std::invalid_argument(
          "shape: expected sides that are powers of two, 4 or more columns and 32 or more numbers");
    }
    if (a.x_t == nullptr || (scratch == 0 && fwht_passes(length) > 1)) {
      throw std::invalid_argument("x_t, scratch: have to be given");
    }
    if (!empty(a.extent)) fwht_step(a, pointer<float>(scratch), place_of(device, stream));
  });

  m.def("dct_fold",
        [](Address to, Address from, const py::tuple& shape, int device, Address stream) {
          dct_fold(pointer<float>(to), pointer<const float>(from), dct_extent_of(shape),
                   place_of(device, stream));
        });

  m.def("dct_unfold",
        [](Address to, Address from, const py::tuple& shape, int device, Address stream) {
          dct_unfold(pointer<float>(to), pointer<const float>(from), dct_extent_of(shape),
                     place_of(device, stream));
        });

  m.def("dct_twist", [](Address y, Address spectrum, Address vertical, Address horizontal,
                        const py::tuple& shape, int device, Address stream) {
    const DctTwiddles t = twiddles_of(vertical, horizontal);
    dct_twist(pointer<float>(y), pointer<const float>(spectrum), t, dct_extent_of(shape),
              place_of(device, stream));
  });

  m.def("dct_untwist", [](Address spectrum, Address y, Address vertical, Address horizontal,
                          const py::tuple& shape, int device, Address stream) {
    const DctTwiddles t = twiddles_of(vertical, horizontal);
    dct_untwist(pointer<float>(spectrum), pointer<const float>(y), t, dct_extent_of(shape),
                place_of(device, stream));
  });

  m.def("predict_x0",
        [](Address x0, const py::tuple& shape, Address x_t, Address out, int out_type,
           int64_t out_batch_stride, int64_t out_channel_stride, Address table, int64_t steps,
           int64_t row_batch, Address step, int device, Address stream) {
          const PredictArguments a{
              {extent_of(shape), pointer<float>(x0), pointer<const float>(x_t),
               output_of(out, out_type, out_batch_stride, out_channel_stride)},
              {pointer<const Row>(table), steps, row_batch, pointer<const int64_t>(step)}};
          if (!empty(a.extent)) predict_x0(a, place_of(device, stream));
        });

  // of networks; arguments as channel_arguments.h reads them, never empty
  m.def("channel_norm", [](const py::tuple& t, int device, Address stream) {
    channel_norm(channel_norm_of(t), place_of(device, stream));
  });
  m.def("channel_norm_backward", [](const py::tuple& t, int device, Address stream) {
    channel_norm_backward(channel_norm_backward_of(t), place_of(device, stream));
  });
  m.def("gated_depthwise", [](const py::tuple& t, int device, Address stream) {
    gated_depthwise(gated_depthwise_of(t), place_of(device, stream));
  });
  m.def("gated_depthwise_backward", [](const py::tuple& t, int device, Address stream) {
    gated_depthwise_backward(gated_depthwise_backward_of(t), place_of(device, stream));
  });
  m.def("depthwise_gram", [](const py::tuple& t, int device, Address stream) {
    depthwise_gram(depthwise_gram_of(t), place_of(device, stream));
  });
  m.def("attention_fold", [](const py::tuple& t, int device, Address stream) {
    attention_fold(attention_fold_of(t), place_of(device, stream));
  });
}

}  // namespace ddrm_fast::cuda
