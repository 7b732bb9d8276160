// How tensors reach the extension modules: as addresses (0: not given) with shapes and strides.
// Broadcast fields arrive with their shape; their strides follow from it, 0 where a dimension is 1.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <stdexcept>

#include "ddrm_fast/shapes.h"

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

}  // namespace ddrm_fast
