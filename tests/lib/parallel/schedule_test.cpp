#include "lib/parallel/pipeline/schedule.h"

#include <doctest/doctest.h>

#include <map>

#include "lib/core/error.h"
#include "lib/parallel/pipeline/lower.h"
#include "lib/parallel/pipeline/simulate.h"

using namespace nemo;

namespace {

const PipelineSchedule kKinds[] = {PipelineSchedule::kGpipe, PipelineSchedule::k1F1B,
                                   PipelineSchedule::kZeroBubble};

// Every legal shape of a size that tests can afford.
std::vector<std::pair<PipelineSchedule, PipelineShape>> shapes() {
  std::vector<std::pair<PipelineSchedule, PipelineShape>> result;
  for (int p : {1, 2, 3, 4, 8})
    for (int m : {1, 2, 3, 4, 5, 8, 11, 16}) {
      for (PipelineSchedule kind : kKinds) result.push_back({kind, {p, 1, m, 1}});
      if (p == 1) continue;
      for (int v : {2, 3})
        for (int g = p; g <= m; ++g)
          if (m % g == 0 || m % g >= p) result.push_back({PipelineSchedule::k1F1B, {p, v, m, g}});
    }
  return result;
}

void check_same(const Rows& rows, const std::vector<Row>& expected) {
  REQUIRE(rows.size() == static_cast<int64_t>(expected.size()));
  int64_t num_different = 0;
  for (int64_t i = 0; i < rows.size(); ++i)
    if (!(rows[i] == expected[static_cast<size_t>(i)])) ++num_different;
  CHECK(num_different == 0);
}

}  // namespace

TEST_CASE("every rank passes every micro batch once, in rising order, and the schedule ends") {
  for (const auto& [kind, shape] : shapes()) {
    CAPTURE(static_cast<int>(kind));
    CAPTURE(shape.num_ranks);
    CAPTURE(shape.num_chunks);
    CAPTURE(shape.num_microbatches);
    CAPTURE(shape.group_size);
    const Schedule schedule = make_schedule(kind, shape);
    for (const auto& actions : schedule.ranks) {
      std::map<std::pair<char, int>, int> next;  // (pass, chunk) -> micro batch
      for (const Action& a : actions) {
        if (a.pass != Pass::kBackwardInput && a.pass != Pass::kBackwardWeight)
          CHECK(a.microbatch == next[{a.pass == Pass::kForward ? 'F' : 'B', a.chunk}]++);
        if (a.pass == Pass::kBackwardInput) CHECK(a.microbatch == next[{'B', a.chunk}]++);
        if (a.pass == Pass::kBackwardWeight) CHECK(a.microbatch == next[{'W', a.chunk}]++);
      }
      const bool apart = kind == PipelineSchedule::kZeroBubble;
      CHECK(next.size() == static_cast<size_t>(shape.num_chunks * (apart ? 3 : 2)));
      for (const auto& [pass, count] : next) CHECK(count == shape.num_microbatches);
    }
    CHECK(simulate(schedule, {}).duration > 0);
  }
}

TEST_CASE("the bubble is the one of the papers") {
  for (int p : {2, 4, 8})
    for (int m : {8, 16, 32}) {
      CAPTURE(p);
      CAPTURE(m);
      const auto bubble = [&](PipelineSchedule kind, int chunks) {
        return simulate(make_schedule(kind, {p, chunks, m, p}), {}).bubble;
      };
      const double one = (p - 1.0) / (m + p - 1.0);
      CHECK(bubble(PipelineSchedule::kGpipe, 1) == doctest::Approx(one));
      CHECK(bubble(PipelineSchedule::k1F1B, 1) == doctest::Approx(one));
      for (int v : {2, 4})
        CHECK(bubble(PipelineSchedule::k1F1B, v) == doctest::Approx((p - 1.0) / (v * m + p - 1.0)));
      // H1 leaves a third of it where F, B and W take the same time: p - 1 units in 3 m.
      if (m >= p)
        CHECK(bubble(PipelineSchedule::kZeroBubble, 1) ==
              doctest::Approx((p - 1.0) / (3.0 * m + p - 1.0)));
    }
}

TEST_CASE("1f1b holds pp micro batches, zero-bubble no more on any rank, gpipe all") {
  for (int p : {2, 4})
    for (int m : {1, 2, 4, 7, 16})
      for (int rank = 0; rank < p; ++rank) {
        CAPTURE(p);
        CAPTURE(m);
        CAPTURE(rank);
        const auto live = [&](PipelineSchedule kind) {
          return simulate(make_schedule(kind, {p, 1, m, 1}), {})
              .peak_live[static_cast<size_t>(rank)];
        };
        CHECK(live(PipelineSchedule::kGpipe) == m);
        CHECK(live(PipelineSchedule::k1F1B) == std::min(p - rank, m));
        CHECK(live(PipelineSchedule::kZeroBubble) <= std::min(p, m));
      }
}

TEST_CASE("interleaving warms up by 2 (pp - r - 1) + (v - 1) g") {
  const Schedule schedule = make_schedule(PipelineSchedule::k1F1B, {4, 2, 8, 4});
  for (int rank = 0; rank < 4; ++rank) {
    const auto& actions = schedule.ranks[static_cast<size_t>(rank)];
    int warm_up = 0;
    while (actions[static_cast<size_t>(warm_up)].pass == Pass::kForward) ++warm_up;
    CHECK(warm_up == 2 * (4 - rank - 1) + 4 + 1);  // and the forward of the first pair
  }
  CHECK(schedule.ranks[0][4] == Action{Pass::kForward, 1, 0});
  CHECK(schedule.ranks[3][5] == Action{Pass::kBackward, 1, 0});
}

TEST_CASE("a long step is a short one whose middle repeats, row by row") {
  for (int p : {1, 2, 3, 4, 8})
    for (int v : {1, 2, 3})
      for (int g : {p, p + 1, 2 * p})
        for (int m : {1, 20, 61, 64, 200}) {
          const PipelineShape shape = {p, v, m, v == 1 ? p : g};
          if (v > 1 && (p == 1 || g > m || (m % g != 0 && m % g < p))) continue;
          CAPTURE(p);
          CAPTURE(v);
          CAPTURE(g);
          CAPTURE(m);
          for (PipelineSchedule kind : kKinds) {
            if (v > 1 && kind != PipelineSchedule::k1F1B) continue;
            CAPTURE(static_cast<int>(kind));
            const Schedule whole = make_schedule(kind, shape);
            const Repetition repeats = repetition(kind, shape);
            if (m == 200 && p <= 2 && kind != PipelineSchedule::kGpipe)
              CHECK(repeats.shortened.num_microbatches <= 40);
            const Schedule shortened = make_schedule(kind, repeats.shortened);
            CHECK(bubble(simulate(shortened, {}), repeats) ==
                  doctest::Approx(simulate(whole, {}).bubble));
            for (int rank = 0; rank < p; ++rank) {
              CAPTURE(rank);
              check_same(training_rows(kind, shape, rank), lower(whole, rank));
              for (int chunk = 0; chunk < v; ++chunk)
                CHECK(most_in_flight(shortened.ranks[static_cast<size_t>(rank)], chunk) ==
                      most_in_flight(whole.ranks[static_cast<size_t>(rank)], chunk));
            }
          }
          for (int rank = 0; rank < p; ++rank)
            check_same(evaluation_rows(shape, rank), lower(make_forward_schedule(shape), rank));
        }
}

TEST_CASE("a schedule whose ranks wait for each other is found out") {
  Schedule schedule = make_schedule(PipelineSchedule::k1F1B, {2, 1, 2, 1});
  std::swap(schedule.ranks[0][0], schedule.ranks[0][2]);  // B0 before F0
  CHECK_THROWS_AS(simulate(schedule, {}), InvariantError);
}

TEST_CASE("schedules are drawn") {
  CHECK(draw(make_schedule(PipelineSchedule::k1F1B, {2, 1, 2, 1})) ==
        std::vector<std::string>{"F0 F1 .  .  B0 B0 .  B1 B1", ".  F0 B0 B0 F1 B1 B1 .  ."});
  CHECK(draw(make_schedule(PipelineSchedule::k1F1B, {2, 2, 2, 2}))[0] ==
        "F0a F1a F0b F1b .   .   B0b B0b .   B1b B1b B0a B0a B1a B1a");
}
