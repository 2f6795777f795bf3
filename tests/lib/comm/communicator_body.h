// The tests that every backend passes. A backend is a type with
//   static void run(int num_ranks, std::chrono::milliseconds timeout,
//   std::function<void(TestRank&)>)
//   static constexpr size_t kNumRepeats = …;     // of what is repeated
//   static constexpr int64_t kManyElements = …;  // more than the backend treats as little
// and its test file invokes these with TEST_CASE_TEMPLATE_INVOKE.
#pragma once

#include <doctest/doctest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <numeric>
#include <thread>

#include "tests/lib/comm/comm_values.h"
#include "tests/support/run_ranks.h"

namespace nemo::test {

using namespace std::chrono_literals;

inline constexpr std::array kRankCounts = {1, 2, 3, 4, 8};

template <typename F>
void for_each_reducible_type(F&& f) {
  f.template operator()<float>();
  f.template operator()<BFloat16>();
  f.template operator()<Float16>();
  f.template operator()<double>();
  f.template operator()<int32_t>();
  f.template operator()<int64_t>();
}

// Runs body<T>(rank, count, op) for every number of ranks, dtype, odd size and reduction.
template <typename Backend, typename Body>
void run_reductions(std::initializer_list<int64_t> counts, Body body) {
  for (int n : kRankCounts)
    Backend::run(n, 60s, [&](TestRank& rank) {
      for (int64_t count : counts)
        for (ReduceOp op : {ReduceOp::kSum, ReduceOp::kMax})
          for_each_reducible_type(
              [&]<typename T>() { body.template operator()<T>(rank, count, op); });
    });
}

TEST_CASE_TEMPLATE_DEFINE("all_reduce adds in rank order, in bits", Backend, all_reduce_body) {
  auto body = []<typename T>(TestRank& r, int64_t count, ReduceOp op) {
    Owned<T> buffer(r, {count});
    buffer.fill([&](int64_t i) { return comm_value<T>(r.rank, i); });
    r.world.all_reduce(buffer.tensor, op, "sum").wait(r.stream);
    buffer.expect("all_reduce", [&](int64_t i) { return reduced_value<T>(r.world.size(), op, i); });
  };
  run_reductions<Backend>({0, 1, 7, Backend::kManyElements}, body);
  Backend::run(4, 60s, [&](TestRank& rank) {
    body.template operator()<float>(rank, 300007, ReduceOp::kSum);
    body.template operator()<BFloat16>(rank, 300007, ReduceOp::kSum);
    body.template operator()<Float16>(rank, 300007, ReduceOp::kSum);
  });
}

TEST_CASE_TEMPLATE_DEFINE("a NaN is the maximum, whoever brings it", Backend, nan_body) {
  for (int n : kRankCounts)
    Backend::run(n, 60s, [&](TestRank& r) {
      for (int bearer = 0; bearer < n; ++bearer) {
        Owned<float> buffer(r, {5});
        buffer.fill([&](int64_t) { return r.rank == bearer ? NAN : 1.0f; });
        r.world.all_reduce(buffer.tensor, ReduceOp::kMax, "max").wait(r.stream);
        for (float x : buffer.values) NEMO_CHECK(std::isnan(x), "rank {} brought a NaN", bearer);
      }
    });
}

TEST_CASE_TEMPLATE_DEFINE("all_gather lines the parts up in rank order", Backend, all_gather_body) {
  for (int n : kRankCounts)
    Backend::run(n, 60s, [&](TestRank& r) {
      for (int64_t count : std::array<int64_t, 4>{0, 1, 7, Backend::kManyElements})
        for_each_reducible_type([&]<typename T>() {
          auto whole = [&](int64_t i) {
            return comm_value<T>(static_cast<int>(i / count), i % count);
          };
          Owned<T> input(r, {count}), output(r, {n, count}), in_place(r, {n, count});
          input.fill([&](int64_t i) { return comm_value<T>(r.rank, i); });
          r.world.all_gather(input.tensor, output.tensor, "apart").wait(r.stream);
          output.expect("all_gather", whole);
          const Tensor own = in_place.tensor.slice(0, r.rank, r.rank + 1);
          if (count) std::memcpy(own.raw(), input.tensor.raw(), static_cast<size_t>(own.bytes()));
          r.world.all_gather(own, in_place.tensor, "in place").wait(r.stream);
          in_place.expect("all_gather in place", whole);
        });
    });
}

TEST_CASE_TEMPLATE_DEFINE("reduce_scatter leaves each rank its part", Backend,
                          reduce_scatter_body) {
  run_reductions<Backend>(
      {0, 1, 7, Backend::kManyElements}, []<typename T>(TestRank& r, int64_t count, ReduceOp op) {
        const int n = r.world.size();
        auto own = [&](int64_t i) { return reduced_value<T>(n, op, r.rank * count + i); };
        Owned<T> input(r, {n, count}), output(r, {count}), result(r, {count});
        input.fill([&](int64_t i) { return comm_value<T>(r.rank, i); });
        r.world.reduce_scatter(input.tensor, output.tensor, op, "apart").wait(r.stream);
        output.expect("reduce_scatter", own);
        const Tensor part = input.tensor.slice(0, r.rank, r.rank + 1);
        r.world.reduce_scatter(input.tensor, part, op, "in place").wait(r.stream);
        if (count) std::memcpy(result.tensor.raw(), part.raw(), static_cast<size_t>(part.bytes()));
        result.expect("reduce_scatter in place", own);
      });
}

TEST_CASE_TEMPLATE_DEFINE("all_to_all transposes parts", Backend, all_to_all_body) {
  for (int n : kRankCounts)
    Backend::run(n, 60s, [&](TestRank& r) {
      for (int64_t count : std::array<int64_t, 4>{0, 1, 7, Backend::kManyElements})
        for_each_reducible_type([&]<typename T>() {
          Owned<T> input(r, {n, count}), output(r, {n, count});
          input.fill([&](int64_t i) { return comm_value<T>(r.rank, i); });
          r.world.all_to_all(input.tensor, output.tensor, "transpose").wait(r.stream);
          output.expect("all_to_all", [&](int64_t i) {
            return comm_value<T>(static_cast<int>(i / count), r.rank * count + i % count);
          });
        });
    });
}

// Rank a sends rank b (a * 5 + b * 3) % 4 rows times `scale`: some of them none.
inline int64_t rows_between(int from, int to, int64_t scale) {
  return (from * 5 + to * 3) % 4 * scale;
}

TEST_CASE_TEMPLATE_DEFINE("all_to_all_v moves unequal numbers of rows", Backend,
                          all_to_all_v_body) {
  for (int n : kRankCounts)
    Backend::run(n, 60s, [&](TestRank& r) {
      for (int64_t scale : {0, 1, 1500}) {
        constexpr int64_t kWidth = 11;
        std::vector<int64_t> sends, receives;
        for (int peer = 0; peer < n; ++peer) {
          sends.push_back(rows_between(r.rank, peer, scale));
          receives.push_back(rows_between(peer, r.rank, scale));
        }
        auto total = [](const auto& rows) { return std::accumulate(rows.begin(), rows.end(), 0l); };
        Owned<float> input(r, {total(sends), kWidth}), output(r, {total(receives), kWidth});
        input.fill([&](int64_t i) { return comm_value<float>(r.rank, i); });
        r.world.all_to_all_v(input.tensor, sends, output.tensor, receives, "v").wait(r.stream);
        std::vector<float> wanted;
        for (int from = 0; from < n; ++from) {
          int64_t begin = 0;
          for (int to = 0; to < r.rank; ++to) begin += rows_between(from, to, scale) * kWidth;
          for (int64_t i = 0; i < rows_between(from, r.rank, scale) * kWidth; ++i)
            wanted.push_back(comm_value<float>(from, begin + i));
        }
        output.expect("all_to_all_v", [&](int64_t i) { return wanted[static_cast<size_t>(i)]; });
      }
    });
}

TEST_CASE_TEMPLATE_DEFINE("broadcast copies from any root, any dtype", Backend, broadcast_body) {
  for (int n : kRankCounts)
    Backend::run(n, 60s, [&](TestRank& r) {
      for (int root = 0; root < n; ++root)
        for (int64_t count : {0, 1, 7, 100003}) {
          Owned<uint8_t> buffer(r, {count});
          buffer.fill([&](int64_t i) { return static_cast<uint8_t>(i * 7 + r.rank); });
          r.world.broadcast(buffer.tensor, root, "copy").wait(r.stream);
          buffer.expect("broadcast", [&](int64_t i) { return static_cast<uint8_t>(i * 7 + root); });
        }
    });
}

TEST_CASE_TEMPLATE_DEFINE("send and receive meet in order, around a ring", Backend, ring_body) {
  for (int n : {2, 3, 4, 8})
    Backend::run(n, 60s, [&](TestRank& r) {
      const int next = (r.rank + 1) % n, previous = (r.rank + n - 1) % n;
      for (int64_t count : std::array<int64_t, 4>{0, 1, 7, Backend::kManyElements}) {
        Owned<float> first(r, {count}), second(r, {count}), got_first(r, {count}),
            got_second(r, {count});
        first.fill([&](int64_t i) { return comm_value<float>(r.rank, i); });
        second.fill([&](int64_t i) { return comm_value<float>(r.rank, i + 1); });
        std::vector<Work> works;
        works.push_back(r.world.send(first.tensor, next, "first"));
        works.push_back(r.world.send(second.tensor, next, "second"));
        works.push_back(r.world.receive(got_first.tensor, previous, "first"));
        works.push_back(r.world.receive(got_second.tensor, previous, "second"));
        for (size_t i : {3, 0, 2, 1}) works[i].wait(r.stream);
        got_first.expect("first", [&](int64_t i) { return comm_value<float>(previous, i); });
        got_second.expect("second", [&](int64_t i) { return comm_value<float>(previous, i + 1); });
      }
    });
}

TEST_CASE_TEMPLATE_DEFINE("many operations in flight, waited for in any order", Backend,
                          in_flight_body) {
  for (int n : kRankCounts)
    Backend::run(n, 60s, [&](TestRank& r) {
      constexpr size_t kNumOps = 3 * Backend::kNumRepeats;
      std::vector<Owned<int64_t>> buffers;
      std::vector<Work> works;
      buffers.reserve(kNumOps);
      for (size_t op = 0; op < kNumOps; ++op) {
        buffers.emplace_back(r, Shape{static_cast<int64_t>(op * 37 % 6000)});
        buffers[op].fill([&](int64_t i) { return i + r.rank + static_cast<int64_t>(op); });
        works.push_back(r.world.all_reduce(buffers[op].tensor, ReduceOp::kSum, "many"));
      }
      // 7, 11, … are coprime to kNumOps: another order on every rank.
      constexpr size_t kStrides[] = {7, 11, 13, 17, 19, 23, 29, 31};
      const size_t stride = kStrides[r.rank];
      for (size_t i = 0; i < kNumOps; ++i) works[i * stride % kNumOps].wait(r.stream);
      for (size_t op = 0; op < kNumOps; ++op)
        buffers[op].expect("many", [&](int64_t i) {
          return n * (i + static_cast<int64_t>(op)) + n * (n - 1) / 2;
        });
    });
}

TEST_CASE_TEMPLATE_DEFINE("a Work keeps its tensors", Backend, keeps_tensors_body) {
  Backend::run(2, 60s, [&](TestRank& r) {
    auto allocate = [&](int64_t count) {
      return Tensor(r.arena, DType::kF32, {count}, MemoryCategory::kCommunication, "x");
    };
    auto live_bytes = [&] { return r.arena.report().live_total; };
    Work work = r.world.all_gather(allocate(16), allocate(32), "temporaries");
    NEMO_CHECK(live_bytes() == 192, "in flight: {} bytes", live_bytes());
    Work moved = std::move(work);
    moved.wait(r.stream);
    NEMO_CHECK(live_bytes() == 0, "done: {} bytes", live_bytes());
  });
}

TEST_CASE_TEMPLATE_DEFINE("split makes groups of one color, and groups of those", Backend,
                          split_body) {
  for (int n : kRankCounts)
    Backend::run(n, 60s, [&](TestRank& r) {
      const auto thirds = r.world.split(r.rank % 3, "thirds");
      const auto pairs = thirds->split(thirds->rank() / 2, "pairs");
      auto sum_of = [&](Communicator& group) {
        Owned<int32_t> x(r, {1});
        x.values[0] = 1 << r.rank;
        group.all_reduce(x.tensor, ReduceOp::kSum, "members").wait(r.stream);
        return x.values[0];
      };
      int32_t third = 0, pair = 0;
      for (int other = 0; other < n; ++other) {
        if (other % 3 != r.rank % 3) continue;
        third |= 1 << other;
        if (other / 3 / 2 == r.rank / 3 / 2) pair |= 1 << other;
      }
      NEMO_CHECK(thirds->name() == "thirds" && thirds->rank() == r.rank / 3, "{} of {}",
                 thirds->rank(), thirds->size());
      NEMO_CHECK(pairs->rank() == r.rank / 3 % 2, "{} of {}", pairs->rank(), pairs->size());
      NEMO_CHECK(sum_of(*thirds) == third, "thirds");
      NEMO_CHECK(sum_of(*pairs) == pair, "pairs");
      NEMO_CHECK(sum_of(r.world) == (1 << n) - 1, "world");
    });
}

TEST_CASE_TEMPLATE_DEFINE("groups may be waited for in different orders", Backend,
                          interleaved_body) {
  Backend::run(4, 60s, [&](TestRank& r) {
    const auto rows = r.world.split(r.rank / 2, "rows");
    const auto columns = r.world.split(r.rank % 2, "columns");
    for (int repeat = 0; repeat < 50; ++repeat) {
      std::array<Owned<float>, 3> x = {Owned<float>(r, {9000}), Owned<float>(r, {9000}),
                                       Owned<float>(r, {9000})};
      std::array<Communicator*, 3> groups = {rows.get(), columns.get(), &r.world};
      std::array<Work, 3> works;
      for (size_t g = 0; g < 3; ++g) {
        x[g].fill([&](int64_t) { return static_cast<float>(1 << r.rank); });
        works[g] = groups[g]->all_reduce(x[g].tensor, ReduceOp::kSum, "group");
      }
      for (size_t g = 0; g < 3; ++g) works[(g + static_cast<size_t>(r.rank)) % 3].wait(r.stream);
      x[0].expect("rows", [&](int64_t) { return r.rank / 2 ? 12.0f : 3.0f; });
      x[1].expect("columns", [&](int64_t) { return r.rank % 2 ? 10.0f : 5.0f; });
      x[2].expect("world", [&](int64_t) { return 15.0f; });
    }
  });
}

TEST_CASE_TEMPLATE_DEFINE("nobody leaves a barrier before all are in", Backend, barrier_body) {
  for (int n : kRankCounts) {
    std::atomic<int> num_in = 0;
    Backend::run(n, 60s, [&](TestRank& r) {
      for (int repeat = 1; repeat <= static_cast<int>(Backend::kNumRepeats); ++repeat) {
        ++num_in;
        r.world.barrier("in");
        NEMO_CHECK(num_in >= n * repeat, "{} of {} are in", num_in.load(), n * repeat);
        r.world.barrier("out");
      }
    });
  }
}

// The text of the CommError that call throws; "" when it throws none.
template <typename F>
std::string comm_error(F&& call) {
  try {
    call();
  } catch (const CommError& e) {
    return e.what();
  }
  return "";
}

TEST_CASE_TEMPLATE_DEFINE("a wait that takes too long names the ranks that are missing", Backend,
                          timeout_body) {
  std::array<std::string, 4> errors;
  std::atomic<int> num_errors = 0;
  auto body = [&](TestRank& r) {
    const auto group = r.world.split(0, "dp");
    group->barrier("ready");
    if (r.rank % 2 == 0) {
      Owned<float> x(r, {3});
      errors[static_cast<size_t>(r.rank)] =
          comm_error([&] { group->all_reduce(x.tensor, ReduceOp::kSum, "grads").wait(r.stream); });
      ++num_errors;
    }
    while (num_errors < 2) std::this_thread::sleep_for(1ms);
    group->barrier("end");
  };
  CHECK_THROWS_AS(Backend::run(4, 500ms, body), CommError);
  CHECK(errors[0] == errors[2]);
  CHECK(
      errors[0].starts_with("[all_reduce \"grads\"] group dp, sequence 1: ranks 1, 3 did not "
                            "arrive within 0.5 s; "));
}

// Rank 1 is missed before rank 3 is, and so on, but only rank 2 waits for nobody.
TEST_CASE_TEMPLATE_DEFINE("a timeout names who hangs, not who waits for it", Backend, chain_body) {
  std::array<std::string, 4> errors;
  std::atomic<int> num_errors = 0;
  auto body = [&](TestRank& r) {
    const auto pair = r.world.split(r.rank / 2, "pair");
    const auto other = r.world.split(r.rank % 2, "other");
    r.world.barrier("ready");
    if (r.rank != 2) {
      std::this_thread::sleep_for(r.rank * 100ms);
      Communicator& group = r.rank == 1 ? *other : *pair;
      errors[static_cast<size_t>(r.rank)] = comm_error([&] { group.barrier("wait"); });
      ++num_errors;
    }
    while (num_errors < 3) std::this_thread::sleep_for(1ms);
    r.world.barrier("end");
  };
  CHECK_THROWS_AS(Backend::run(4, 500ms, body), CommError);
  for (const size_t rank : {0, 1, 3})
    CHECK(errors[rank].starts_with(
        "[barrier \"wait\"] group pair, sequence 0: rank 2 did not arrive within 0.5 s; "));
}

TEST_CASE_TEMPLATE_DEFINE("ranks that wait in a circle end all the same", Backend, circle_body) {
  std::array<std::string, 2> errors;
  auto body = [&](TestRank& r) {
    const auto left = r.world.split(0, "left");
    const auto right = r.world.split(0, "right");
    Communicator& first = r.rank == 0 ? *left : *right;
    errors[static_cast<size_t>(r.rank)] = comm_error([&] { first.barrier("first"); });
    r.world.barrier("end");
  };
  const auto start = std::chrono::steady_clock::now();
  CHECK_THROWS_AS(Backend::run(2, 300ms, body), CommError);
  CHECK(std::chrono::steady_clock::now() - start < 5s);
  CHECK(errors[0] == errors[1]);
  CHECK(errors[0].find(" did not arrive within 0.3 s; ") != std::string::npos);
}

TEST_CASE_TEMPLATE_DEFINE("poison ends waits in every group, before and after", Backend,
                          poison_body) {
  std::array<std::vector<std::string>, 3> errors;
  auto body = [&](TestRank& r) {
    const auto child = r.world.split(0, "child");
    auto& mine = errors[static_cast<size_t>(r.rank)];
    if (r.rank == 1) {
      std::this_thread::sleep_for(50ms);
      r.world.poison("rank 1 is out of sorts");
      r.world.poison("a later reason");
    } else {
      mine.push_back(comm_error([&] { child->barrier("waiting"); }));
    }
    mine.push_back(comm_error([&] { r.world.barrier("after"); }));
    mine.push_back(comm_error([&] { child->barrier("after"); }));
    mine.push_back(comm_error([&] { r.world.split(0, "new"); }));
    child->barrier("end");
  };
  const auto start = std::chrono::steady_clock::now();
  CHECK_THROWS_AS(Backend::run(3, 60s, body), CommError);
  CHECK(std::chrono::steady_clock::now() - start < 30s);  // the poison ends waits, not the deadline
  for (const auto& of_rank : errors) {
    CHECK(of_rank.size() >= 3);
    for (const std::string& error : of_rank)
      CHECK(error.find("rank 1 is out of sorts") != std::string::npos);
  }
}

}  // namespace nemo::test
