// A rank waited in vain; the server asks the members of its group how far they are, so that the
// ones that did not arrive can be named.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

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

  void answer(int rank, const Progress& progress) { answers_[rank] = progress; }
  // All have answered, or their time is up.
  bool is_over(Clock::time_point now) const;
  // All that are missed wait for others themselves: one of those knows better whom to name, and is
  // given time.
  bool is_for_others() const;
  // `[all_reduce "grads"] group dp, sequence 1: ranks 1, 3 did not arrive within 0.5 s; …`
  std::string message() const;

 private:
  std::vector<int> silent_ranks() const;
  // They did not arrive; those among them that wait for others only where there is nobody else.
  std::vector<int> late_ranks() const;

  Hang hang_;
  Clock::time_point due_;
  std::map<int, Progress> answers_;
};

}  // namespace nemo::store
