// A rank waited in vain; the server asks the members of its group how far they are, so that the
// ones that did not arrive can be named.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "lib/comm/store/job.h"
#include "lib/core/clock.h"

namespace nemo::store {

class HangInquiry {
 public:
  // How long a member may take to answer.
  static constexpr std::chrono::seconds kPatience{1};

  HangInquiry(Hang hang, Clock::time_point now) : hang_(std::move(hang)), due_(now + kPatience) {}

  const Hang& hang() const { return hang_; }
  Clock::time_point due() const { return due_; }

  // `sequence`: of the last operation that the rank has called in the group, -1 = none yet.
  void answer(int rank, int64_t sequence) { last_called_[rank] = sequence; }
  // All have answered, or their time is up.
  bool is_over(Clock::time_point now) const;
  // `[all_reduce "grads"] group dp, sequence 1: ranks 1, 3 did not arrive within 0.5 s; …`
  std::string message() const;

 private:
  Hang hang_;
  Clock::time_point due_;
  std::map<int, int64_t> last_called_;
};

}  // namespace nemo::store
