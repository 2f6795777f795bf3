#include "lib/train/rank_trace.h"

#include <fmt/format.h>

#include <iterator>
#include <map>

#include "lib/train/run_file.h"

namespace nemo {
namespace {

constexpr const char* kKey = "log.trace";

void add_event(std::string& out, const std::string& fields) {
  out += out.empty() ? "" : ",\n";
  out += "{" + fields + "}";
}

std::string thread_name(int rank, Trace::Lane lane, const char* name) {
  return fmt::format(R"("ph":"M","pid":{},"tid":{},"name":"thread_name","args":{{"name":"{}"}})",
                     rank, static_cast<int>(lane), name);
}

void send_text(Communicator& world, Stream& stream, std::string text) {
  int64_t size = std::ssize(text);
  world.send(Tensor(&size, DType::kI64, {1}), 0, "trace").wait(stream);
  if (size > 0) world.send(Tensor(text.data(), DType::kU8, {size}), 0, "trace").wait(stream);
}

std::string receive_text(Communicator& world, Stream& stream, int rank) {
  int64_t size = 0;
  world.receive(Tensor(&size, DType::kI64, {1}), rank, "trace").wait(stream);
  std::string text(static_cast<size_t>(size), '\0');
  if (size > 0) world.receive(Tensor(text.data(), DType::kU8, {size}), rank, "trace").wait(stream);
  return text;
}

}  // namespace

void RankTrace::waited(const Call& call, Clock::time_point wait_begin) {
  if (call.group->size() == 1) return;
  const char* group = names_.insert(call.group->name()).first->c_str();
  const Clock::time_point end = Clock::now();
  trace_.add({Trace::Lane::kWait, call.label, group, call.bytes, wait_begin, end});
  trace_.add({Trace::Lane::kFlight, call.label, group, call.bytes, call.begin, end});
}

void RankTrace::start(Communicator& world) {
  world.barrier("trace");
  zero_ = Clock::now();
}

double RankTrace::microseconds(Clock::time_point time) const {
  return std::chrono::duration<double, std::micro>(time - zero_).count();
}

std::string RankTrace::events(int rank) const {
  std::string out;
  add_event(out,
            fmt::format(R"("ph":"M","pid":{},"name":"process_name","args":{{"name":"rank {}"}})",
                        rank, rank));
  add_event(out, thread_name(rank, Trace::Lane::kCompute, "computes"));
  add_event(out, thread_name(rank, Trace::Lane::kWait, "waits"));
  int64_t id = 0;
  for (const Trace::Span& span : trace_.spans()) {
    const double begin = microseconds(span.begin), end = microseconds(span.end);
    const std::string name = fmt::format(R"("name":"{}{}{}")", span.name, span.detail ? " " : "",
                                         span.detail ? span.detail : "");
    const std::string place =
        fmt::format(R"("pid":{},"tid":{})", rank, static_cast<int>(span.lane));
    if (span.lane != Trace::Lane::kFlight) {
      add_event(out, fmt::format(R"("ph":"X",{},{},"ts":{:.3f},"dur":{:.3f},"args":{{"n":{}}})",
                                 place, name, begin, end - begin, span.number));
      continue;
    }
    for (const auto& [phase, time] : {std::pair("b", begin), std::pair("e", end)})
      add_event(out, fmt::format(R"("ph":"{}","cat":"comm","id":"{}.{}",{},{},"ts":{:.3f})", phase,
                                 rank, id, place, name, time));
    ++id;
  }
  return out;
}

std::string RankTrace::communication(int rank) const {
  struct Sum {
    int64_t calls = 0, bytes = 0;
    double in_flight = 0, waited = 0;
  };
  std::map<std::string, Sum> groups;
  for (const Trace::Span& span : trace_.spans()) {
    if (span.lane == Trace::Lane::kCompute) continue;
    Sum& sum = groups[span.detail];
    const double seconds = std::chrono::duration<double>(span.end - span.begin).count();
    if (span.lane == Trace::Lane::kWait) {
      sum.waited += seconds;
      continue;
    }
    sum.in_flight += seconds;
    sum.bytes += span.number;
    ++sum.calls;
  }
  std::string out =
      fmt::format(R"({{"rank":{},"spans_left_out":{},"groups":{{)", rank, trace_.num_dropped());
  const char* separator = "";
  for (const auto& [name, sum] : groups) {
    out += fmt::format(R"({}"{}":{{"calls":{},"bytes":{},"in_flight_s":{:.6f},"waited_s":{:.6f}}})",
                       separator, name, sum.calls, sum.bytes, sum.in_flight, sum.waited);
    separator = ",";
  }
  return out + "}}";
}

void RankTrace::write(Communicator& world, Stream& stream,
                      const std::filesystem::path& path) const {
  std::string mine = events(world.rank()), sums = communication(world.rank());
  if (world.rank() != 0) {
    send_text(world, stream, std::move(mine));
    return send_text(world, stream, std::move(sums));
  }
  RunFile file(path, kKey);
  file.append("{\"traceEvents\":[\n" + mine);
  for (int rank = 1; rank < world.size(); ++rank) {
    file.append(",\n" + receive_text(world, stream, rank));
    sums += ",\n" + receive_text(world, stream, rank);
  }
  file.append("],\n\"communication\":[\n" + sums + "]}\n");
}

}  // namespace nemo
