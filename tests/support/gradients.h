// Gradients of double references, to check the references and the kernels by.
#pragma once

#include <vector>

namespace nemo::test {

// d loss(x) / dx by central differences, of error step^2.
template <typename Loss>
std::vector<double> central_differences(const Loss& loss, std::vector<double> x,
                                        double step = 1e-5) {
  std::vector<double> gradient(x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    const double x_i = x[i];
    x[i] = x_i + step;
    const double above = loss(x);
    x[i] = x_i - step;
    gradient[i] = (above - loss(x)) / (2 * step);
    x[i] = x_i;
  }
  return gradient;
}

inline double dot(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

inline std::vector<double> sum_of(const std::vector<double>& a, const std::vector<double>& b) {
  std::vector<double> sum = a;
  for (size_t i = 0; i < sum.size(); ++i) sum[i] += b[i];
  return sum;
}

}  // namespace nemo::test
