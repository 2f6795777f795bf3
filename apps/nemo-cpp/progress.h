// How far a long operation has come, on standard error: a bar on a terminal, now and then a line
// elsewhere, nothing for what is over in a second.
#pragma once

#include <cstdint>
#include <string>

#include "lib/core/clock.h"

namespace nemo {

class Progress {
 public:
  // label: what is being done, one line.
  explicit Progress(std::string label);
  ~Progress();  // leaves the terminal's line empty
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // total > 0; cheap enough for every few milliseconds.
  void update(int64_t done, int64_t total);

 private:
  std::string label_;
  bool on_terminal_;
  bool shown_ = false;
  Clock::time_point start_ = Clock::now();
  Clock::time_point next_;
};

}  // namespace nemo
