// How tensors reach the extension modules: as addresses (0: not given) with shapes and strides.
// Broadcast fields arrive with their shape; their strides follow from it, 0 where a dimension is 1.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <stdexcept>

#include "ddrm_fast/arguments.h"
#include "ddrm_fast/dct.h"

namespace py = pybind11;

namespace ddrm_fast {

using Address = std::uintptr_t;

template <class T>
inline T* pointer(Address address) {
  return reinterpret_cast<T*>(address);
}

inline void read_shape(const py::handle& shape, int64_t (&size)[4]) {
  PyObject* tuple = shape.ptr();
  if (!PyTuple_Check(tuple) || PyTuple_GET_SIZE(tuple) != 4) {
    throw std::invalid_argument("shape: expected four dimensions");
  }
  for (int i = 0; i < 4; ++i) {
    size[i] = PyLong_AsLongLong(PyTuple_GET_ITEM(tuple, i));
    if (size[i] == -1 && PyErr_Occurred()) throw py::error_already_set();
  }
}

inline Extent extent_of(const py::handle& shape) {
  int64_t size[4];
  read_shape(shape, size);
  return {size[0], size[1], size[2], size[3]};
}

// A contiguous field; `parts` is 2 for complex numbers.
template <class T = float>
inline Field<T> field_of(Address address, const py::handle& shape, int64_t parts = 1) {
  Field<T> field{pointer<const T>(address), {0, 0, 0, 0}};
  if (address == 0) return field;
  int64_t size[4];
  read_shape(shape, size);
  int64_t stride = parts;
  for (int i = 3; i >= 0; --i) {
    field.stride[i] = size[i] == 1 ? 0 : stride;
    stride *= size[i];
  }
  return field;
}

inline int64_t integer_at(const py::tuple& t, int i) {
  const long long value = PyLong_AsLongLong(PyTuple_GET_ITEM(t.ptr(), i));
  if (value == -1 && PyErr_Occurred()) throw py::error_already_set();
  return static_cast<int64_t>(value);
}

inline py::handle item_at(const py::tuple& t, int i) { return PyTuple_GET_ITEM(t.ptr(), i); }
inline Address address_at(const py::tuple& t, int i) {
  return static_cast<Address>(integer_at(t, i));
}

inline NetworkOutput output_of(Address data, int64_t type, int64_t batch_stride,
                               int64_t channel_stride) {
  return {pointer<const void>(data), static_cast<OutputType>(type), batch_stride, channel_stride};
}

// (x_next, shape, x_t, out, out type, out batch stride, out channel stride, u, shape of u, s, shape
// of s, table, its steps, its batch, step, keys, noise, x0): what every step shares. The row table
// is each target's own to read: where it lies, and how many steps and images it has.
struct TableArguments {
  Address rows;
  int64_t steps, batch;
  Address step;
};

template <int kParts>
TableArguments read_step(StepFields& a, const py::tuple& t) {
  if (t.size() != 18) throw std::invalid_argument("step: expected 18 entries");
  a.x_next = pointer<float>(address_at(t, 0));
  a.extent = extent_of(item_at(t, 1));
  a.x_t = pointer<const float>(address_at(t, 2));
  a.out = output_of(address_at(t, 3), integer_at(t, 4), integer_at(t, 5), integer_at(t, 6));
  if (a.out.data == nullptr) a.x_t = nullptr;
  a.u = field_of(address_at(t, 7), item_at(t, 8), kParts);
  a.s = field_of(address_at(t, 9), item_at(t, 10));
  a.keys = pointer<const NoiseKey>(address_at(t, 15));
  a.noise = pointer<const float>(address_at(t, 16));
  a.x0 = pointer<float>(address_at(t, 17));
  return {address_at(t, 11), integer_at(t, 12), integer_at(t, 13), address_at(t, 14)};
}

// (weights, mask, shape of the mask, factor)
inline BlockProfile profile_of(const py::tuple& t) {
  if (t.size() != 4) throw std::invalid_argument("profile: expected 4 entries");
  return {pointer<const float>(address_at(t, 0)), field_of(address_at(t, 1), item_at(t, 2)),
          integer_at(t, 3)};
}

inline BlockFields block_of(Address x, const py::tuple& shape, Address c, Address s,
                            const py::tuple& s_shape, const py::tuple& profile) {
  return {extent_of(shape), pointer<float>(x), pointer<float>(c), field_of(s, s_shape),
          profile_of(profile)};
}

// (planes, height, width)
inline DctExtent dct_extent_of(const py::tuple& t) {
  if (t.size() != 4) throw std::invalid_argument("shape: expected planes, height, width, factor");
  return {integer_at(t, 0), integer_at(t, 1), integer_at(t, 2), integer_at(t, 3)};
}

inline DctTwiddles twiddles_of(Address vertical, Address horizontal) {
  return {pointer<const float>(vertical), pointer<const float>(horizontal)};
}

}  // namespace ddrm_fast
