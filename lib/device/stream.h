// An ordered queue of work on one device, and what kernels need beside their tensors: the arena for
// scratch, the number of compute threads, and state that libraries keep (cached primitives).
//
// On CPU the queue is the calling thread: a kernel has finished when its call returns.
#pragma once

#include <memory>
#include <vector>

#include "lib/device/arena.h"
#include "lib/device/device.h"
#include "lib/device/tensor.h"

namespace nemo {

class Stream {
 public:
  // Belongs to the calling thread, whose OpenMP team becomes num_threads.
  Stream(Arena& arena, int num_threads, CpuIsa isa);

  Device device() const { return arena_.device(); }
  bool recording() const { return device().kind == DeviceKind::kRecord; }
  Arena& arena() { return arena_; }
  int num_threads() const { return num_threads_; }
  CpuIsa isa() const { return isa_; }

  // Scratch that lives as long as the returned tensor.
  Tensor workspace(DType dtype, const Shape& shape, const char* name) {
    return Tensor(arena_, dtype, shape, MemoryCategory::kWorkspace, name);
  }

  // The stream's one T, made at first use: a kernel library's handles and caches.
  template <typename T>
  T& state() {
    static char key = 0;  // its address names T
    for (auto& entry : states_)
      if (entry.key == &key) return *static_cast<T*>(entry.object.get());
    states_.push_back({&key, std::make_shared<T>()});
    return *static_cast<T*>(states_.back().object.get());
  }

 private:
  struct State {
    const void* key;
    std::shared_ptr<void> object;
  };

  Arena& arena_;
  int num_threads_;
  CpuIsa isa_;
  std::vector<State> states_;
};

}  // namespace nemo
