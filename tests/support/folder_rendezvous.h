// A rendezvous over a folder, for threads and processes of one test.
#pragma once

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>

#include "lib/comm/communicator.h"
#include "lib/comm/rendezvous.h"
#include "lib/core/clock.h"
#include "tests/support/files.h"

namespace nemo::test {

class FolderRendezvous final : public Rendezvous {
 public:
  explicit FolderRendezvous(const std::filesystem::path& folder) : folder_(folder) {}

  // By renaming, so that nobody reads half a value.
  void set(std::string_view key, std::string_view value) override {
    const auto draft = folder_ / fmt::format("draft.{}.{}", getpid(), num_drafts_++);
    std::filesystem::rename(write_file(draft, std::string(value)), path_of(key));
  }

  std::string get(std::string_view key) override {
    const Clock::time_point start = Clock::now();
    while (!std::filesystem::exists(path_of(key))) {
      if (seconds_since(start) > 30) throw CommError(fmt::format("nobody set {}", key));
      std::this_thread::sleep_for(std::chrono::microseconds(200));
    }
    return read_file(path_of(key));
  }

 private:
  std::filesystem::path path_of(std::string_view key) const {
    std::string name = fmt::format("key.{}", key);
    std::ranges::replace(name, '/', '.');
    return folder_ / name;
  }

  std::filesystem::path folder_;
  std::atomic<int> num_drafts_ = 0;
};

}  // namespace nemo::test
