// What one rank did when: spans of time, kept in memory while it trains.
#pragma once

#include <cstdint>
#include <vector>

#include "lib/core/clock.h"

namespace nemo {

class Trace {
 public:
  enum class Lane : uint8_t {
    kCompute,  // steps, passes and layers, nested
    kWait,     // blocked until a collective is complete
    kFlight,   // from a collective's call until its wait has returned
  };
  struct Span {
    Lane lane;
    const char* name;    // outlives the trace, as `detail` does
    const char* detail;  // of what; may be null
    int64_t number;      // a micro batch; bytes of a collective
    Clock::time_point begin, end;
  };

  // What comes after so many spans is counted and not kept.
  explicit Trace(size_t capacity) { spans_.reserve(capacity); }

  void add(const Span& span) {
    if (spans_.size() < spans_.capacity())
      spans_.push_back(span);
    else
      ++num_dropped_;
  }
  const std::vector<Span>& spans() const { return spans_; }
  int64_t num_dropped() const { return num_dropped_; }

 private:
  std::vector<Span> spans_;
  int64_t num_dropped_ = 0;
};

// Its scope as a span of the compute lane; of no trace, nothing.
class TraceScope {
 public:
  TraceScope(Trace* trace, const char* name, const char* detail = nullptr, int64_t number = 0)
      : trace_(trace), span_{Trace::Lane::kCompute, name, detail, number, {}, {}} {
    if (trace_) span_.begin = Clock::now();
  }
  ~TraceScope() {
    if (!trace_) return;
    span_.end = Clock::now();
    trace_->add(span_);
  }
  TraceScope(const TraceScope&) = delete;
  TraceScope& operator=(const TraceScope&) = delete;

 private:
  Trace* trace_;
  Trace::Span span_;
};

}  // namespace nemo
