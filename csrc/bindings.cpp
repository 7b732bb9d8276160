// The Python module ddrm_fast._C: pointers, shapes, strides and a thread count in, nothing of
// torch.
//
// Tensors arrive as addresses (0: not given). Broadcast fields arrive with their shape; their
// strides follow from it, 0 where a dimension is 1.
#include <cstdlib>
#include <string>
#include <vector>

#include "binding_arguments.h"
#include "channel_arguments.h"
#include "cpu/kernels.h"

namespace ddrm_fast {
namespace {

// The rows of one step: table [steps, row_batch, 48], step int64 [1].
const Row* rows_of_step(Address table, int64_t steps, int64_t row_batch, int64_t step) {
  if (step < 0 || step >= steps) {
    throw std::out_of_range("step: expected 0 <= step < " + std::to_string(steps) + ", got " +
                            std::to_string(step));
  }
  return pointer<const Row>(table) + step * row_batch;
}

template <int kParts>
StepArguments step_of(const py::tuple& t, int threads) {
  StepArguments a;
  const TableArguments table = read_step<kParts>(a, t);
  a.iteration = *pointer<const int64_t>(table.step);
  a.rows = rows_of_step(table.rows, table.steps, table.batch, a.iteration);
  a.row_stride = table.batch == 1 ? 0 : 1;
  a.threads = threads;
  return a;
}

std::vector<std::string> isa_names() {
  const char* names[3];
  const int count = available_isas(names);
  return std::vector<std::string>(names, names + count);
}

std::string isa_list() {
  std::string list;
  for (const std::string& name : isa_names()) list += (list.empty() ? "" : ", ") + name;
  return list;
}

py::tuple python_names() {
  const std::vector<std::string> names = isa_names();
  py::tuple result(names.size());
  for (std::size_t i = 0; i < names.size(); ++i) result[i] = names[i];
  return result;
}

py::tuple philox(const py::tuple& counter, const py::tuple& key) {
  if (counter.size() != 4 || key.size() != 2) {
    throw std::invalid_argument("philox: expected a counter of four words and a key of two");
  }
  PhiloxWords words;
  for (int i = 0; i < 4; ++i) words.word[i] = counter[i].cast<uint32_t>();
  words = philox4x32(words, key[0].cast<uint32_t>(), key[1].cast<uint32_t>());
  return py::make_tuple(words.word[0], words.word[1], words.word[2], words.word[3]);
}

}  // namespace

PYBIND11_MODULE(_C, m) {
  if (isa_names().empty()) {
    throw py::import_error(
        "this build has kernels for other processors alone (DDRM_FAST_ISAS): build it anew");
  }
  if (const char* wanted = std::getenv("DDRM_FAST_ISA"); wanted != nullptr && *wanted != 0) {
    if (!set_isa(wanted)) {
      throw py::import_error("DDRM_FAST_ISA: this processor runs " + isa_list() + ", got '" +
                             wanted + "'");
    }
  }

  m.doc() = "CPU kernels of ddrm_fast; called by ddrm_fast.ops.cpp with checked arguments.";
  m.attr("ROW_WIDTH") = kRowWidth;

  m.def("get_isa", [] { return std::string(kernels().name); }, "Instruction set in use.");
  m.def("available_isas", python_names, "Instruction sets that this processor runs, best last.");
  m.def(
      "set_isa",
      [](const std::string& name) {
        if (!set_isa(name.c_str())) {
          throw py::value_error("isa: expected one of " + isa_list() + ", got '" + name + "'");
        }
      },
      py::arg("name"), "Use the kernels of one instruction set.");
  m.def("philox", philox, py::arg("counter"), py::arg("key"),
        "Philox4x32-10 of four 32-bit words under a key of two.");

  m.def("normal", [](Address z, const py::tuple& shape, Address keys, int64_t iteration,
                     int64_t stream, int threads) {
    const NormalArguments a{
        {extent_of(shape), pointer<float>(z), pointer<const NoiseKey>(keys), iteration, stream},
        threads};
    py::gil_scoped_release release;
    kernels().normal(a);
  });

  m.def("pointwise_step", [](const py::tuple& step, int threads) {
    const StepArguments a = step_of<1>(step, threads);
    py::gil_scoped_release release;
    kernels().pointwise_step(a);
  });

  m.def("block_step", [](const py::tuple& step, const py::tuple& profile, int threads) {
    const StepArguments a = step_of<1>(step, threads);
    const BlockProfile groups = profile_of(profile);
    py::gil_scoped_release release;
    kernels().block_step(a, groups);
  });

  m.def("spectral_step", [](const py::tuple& step, int64_t width, int threads) {
    const StepArguments a = step_of<2>(step, threads);
    py::gil_scoped_release release;
    kernels().spectral_step(a, width);
  });

  m.def("alias_step", [](const py::tuple& step, Address kernel, const py::tuple& kernel_shape,
                         int64_t factor, int64_t width, int threads) {
    const StepArguments a = step_of<2>(step, threads);
    const AliasArguments alias{field_of(kernel, kernel_shape, 2), factor, width};
    py::gil_scoped_release release;
    kernels().alias_step(a, alias);
  });

  m.def("known_step",
        [](const py::tuple& step, Address mask, const py::tuple& mask_shape, int threads) {
          const StepArguments a = step_of<1>(step, threads);
          const MaskField known = field_of<uint8_t>(mask, mask_shape);
          py::gil_scoped_release release;
          kernels().known_step(a, known);
        });

  m.def("block_measure", [](Address c, Address x, const py::tuple& shape, Address s,
                            const py::tuple& s_shape, const py::tuple& profile, int threads) {
    const BlockArguments a{block_of(x, shape, c, s, s_shape, profile), threads};
    py::gil_scoped_release release;
    kernels().block_measure(a);
  });

  m.def("block_lift", [](Address x, const py::tuple& shape, Address c, Address s,
                         const py::tuple& s_shape, const py::tuple& profile, int threads) {
    const BlockArguments a{block_of(x, shape, c, s, s_shape, profile), threads};
    py::gil_scoped_release release;
    kernels().block_lift(a);
  });

  m.def("fwht", [](Address y, Address x, int64_t planes, int64_t length, int threads) {
    py::gil_scoped_release release;
    kernels().fwht(pointer<float>(y), pointer<const float>(x), planes, length, threads);
  });

  m.def("dct_fold", [](Address to, Address from, const py::tuple& shape, int threads) {
    const DctExtent extent = dct_extent_of(shape);
    py::gil_scoped_release release;
    kernels().dct_fold(pointer<float>(to), pointer<const float>(from), extent, threads);
  });

  m.def("dct_unfold", [](Address to, Address from, const py::tuple& shape, int threads) {
    const DctExtent extent = dct_extent_of(shape);
    py::gil_scoped_release release;
    kernels().dct_unfold(pointer<float>(to), pointer<const float>(from), extent, threads);
  });

  m.def("dct_twist", [](Address y, Address spectrum, Address vertical, Address horizontal,
                        const py::tuple& shape, int threads) {
    const DctExtent extent = dct_extent_of(shape);
    py::gil_scoped_release release;
    kernels().dct_twist(pointer<float>(y), pointer<const float>(spectrum),
                        twiddles_of(vertical, horizontal), extent, threads);
  });

  m.def("dct_untwist", [](Address spectrum, Address y, Address vertical, Address horizontal,
                          const py::tuple& shape, int threads) {
    const DctExtent extent = dct_extent_of(shape);
    py::gil_scoped_release release;
    kernels().dct_untwist(pointer<float>(spectrum), pointer<const float>(y),
                          twiddles_of(vertical, horizontal), extent, threads);
  });

  m.def("predict_x0", [](Address x0, const py::tuple& shape, Address x_t, Address out, int out_type,
                         int64_t out_batch_stride, int64_t out_channel_stride, Address table,
                         int64_t steps, int64_t row_batch, Address step, int threads) {
    const PredictArguments a{{extent_of(shape), pointer<float>(x0), pointer<const float>(x_t),
                              output_of(out, out_type, out_batch_stride, out_channel_stride)},
                             rows_of_step(table, steps, row_batch, *pointer<const int64_t>(step)),
                             row_batch == 1 ? 0 : 1,
                             threads};
    py::gil_scoped_release release;
    kernels().predict_x0(a);
  });

  // of networks; arguments as channel_arguments.h reads them
  m.def("channel_norm", [](const py::tuple& t, int threads) {
    const Threaded<ChannelNorm> a{channel_norm_of(t), threads};
    py::gil_scoped_release release;
    kernels().channel_norm(a);
  });

  m.def("channel_norm_backward", [](const py::tuple& t, int threads) {
    const Threaded<ChannelNormBackward> a{channel_norm_backward_of(t), threads};
    py::gil_scoped_release release;
    kernels().channel_norm_backward(a);
  });

  m.def("gated_depthwise", [](const py::tuple& t, int threads) {
    const Threaded<GatedDepthwise> a{gated_depthwise_of(t), threads};
    py::gil_scoped_release release;
    kernels().gated_depthwise(a);
  });

  m.def("gated_depthwise_backward", [](const py::tuple& t, int threads) {
    const Threaded<GatedDepthwiseBackward> a{gated_depthwise_backward_of(t), threads};
    py::gil_scoped_release release;
    kernels().gated_depthwise_backward(a);
  });

  m.def("depthwise_gram", [](const py::tuple& t, int threads) {
    const Threaded<DepthwiseGram> a{depthwise_gram_of(t), threads};
    py::gil_scoped_release release;
    kernels().depthwise_gram(a);
  });

  m.def("attention_fold", [](const py::tuple& t, int threads) {
    const Threaded<AttentionFold> a{attention_fold_of(t), threads};
    py::gil_scoped_release release;
    kernels().attention_fold(a);
  });
}

}  // namespace ddrm_fast
