// The sizes of a tensor, outermost first; at most kMaxDims of them, held in place.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <string>

namespace nemo {

class Shape {
 public:
  static constexpr int kMaxDims = 5;

  Shape() = default;
  Shape(std::initializer_list<int64_t> sizes);

  int num_dims() const { return num_dims_; }
  // dim may count from the end: -1 is the innermost.
  int64_t operator[](int dim) const { return sizes_[index(dim)]; }
  int64_t& operator[](int dim) { return sizes_[index(dim)]; }
  void append(int64_t size);
  int64_t numel() const;
  bool operator==(const Shape& other) const = default;

  // "[4, 128, 64]"
  std::string to_string() const;

 private:
  size_t index(int dim) const { return static_cast<size_t>(dim < 0 ? dim + num_dims_ : dim); }

  std::array<int64_t, kMaxDims> sizes_{};
  int num_dims_ = 0;
};

}  // namespace nemo
