// This process with little more address space than it has, so that many threads' stacks do not fit.
#pragma once

#include <sys/resource.h>

#include <fstream>

namespace nemo::test {

inline rlim_t address_space_bytes() {
  rlim_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  return pages * 4096;
}

class LittleAddressSpace {
 public:
  // `more`: bytes that this process may still take.
  explicit LittleAddressSpace(rlim_t more) {
    getrlimit(RLIMIT_AS, &before_);
    rlimit little = before_;
    little.rlim_cur = address_space_bytes() + more;
    setrlimit(RLIMIT_AS, &little);
  }
  ~LittleAddressSpace() { setrlimit(RLIMIT_AS, &before_); }
  LittleAddressSpace(const LittleAddressSpace&) = delete;
  LittleAddressSpace& operator=(const LittleAddressSpace&) = delete;

 private:
  rlimit before_{};
};

}  // namespace nemo::test
