// A rank's part of trace.json (log.trace): what it computed, what it sent, and how long it stood
// and waited for that. Chrome's trace event format, for chrome://tracing and Perfetto: a process is
// a rank; its threads are what it computes and where it waits; collectives in flight are async
// events.
//
// Beside the events, `communication` sums up each rank's groups: calls, bytes sent, seconds in
// flight (from the call until its wait has returned) and seconds waited. What is in flight and not
// waited for goes on behind the computation.
#pragma once

#include <filesystem>
#include <set>
#include <string>

#include "lib/comm/observed.h"
#include "lib/core/trace.h"

namespace nemo {

class RankTrace final : public CommObserver {
 public:
  RankTrace() : trace_(kCapacity) {}

  Trace& spans() { return trace_; }

  void called(const Call&) override {}
  void waited(const Call& call, Clock::time_point wait_begin) override;

  // Time begins for all ranks. Collective.
  void start(Communicator& world);
  // Rank 0 writes what all have. Collective. A data error where it cannot be written.
  void write(Communicator& world, Stream& stream, const std::filesystem::path& path) const;

 private:
  // Some 10 MB of spans, 20 MB of text.
  static constexpr size_t kCapacity = 200'000;

  std::string events(int rank) const;
  std::string communication(int rank) const;
  double microseconds(Clock::time_point time) const;

  Trace trace_;
  Clock::time_point zero_ = Clock::now();
  std::set<std::string> names_;  // of groups
};

}  // namespace nemo
