// Whether an op gives the same bits from run to run and for any number of threads.
#pragma once

#include <cstring>
#include <vector>

#include "tests/support/tensors.h"

namespace nemo::test {

// run(stream) returns the outputs; it is called twice with 1, 2 and 3 threads on every instruction
// set.
template <typename Run>
bool same_bits_for_any_threads(const Run& run) {
  bool same = true;
  for (CpuIsa isa : available_isas()) {
    std::vector<std::vector<float>> expected;
    for (int num_threads : {1, 1, 2, 2, 3, 3}) {
      Arena arena(Device{}, int64_t{1} << 32);
      Stream stream(arena, num_threads, isa);
      const std::vector<Tensor> outputs = run(stream);
      if (expected.empty())
        for (const Tensor& output : outputs) expected.push_back(elements(output));
      for (size_t i = 0; i < outputs.size(); ++i) {
        const std::vector<float> values = elements(outputs[i]);
        same &= values.size() == expected[i].size();
        for (size_t k = 0; same && k < values.size(); ++k)
          same = std::memcmp(&values[k], &expected[i][k], sizeof(float)) == 0;
      }
    }
  }
  return same;
}

}  // namespace nemo::test
