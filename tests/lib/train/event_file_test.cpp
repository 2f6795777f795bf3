#include "lib/train/event_file.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "lib/core/error.h"
#include "tests/lib/train/decode_events.h"
#include "tests/support/files.h"

using namespace nemo;
using namespace nemo::test;
namespace fs = std::filesystem;

namespace {

std::vector<fs::path> files_in_order(const fs::path& folder) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(folder)) files.push_back(entry.path());
  std::ranges::sort(files);
  return files;
}

}  // namespace

TEST_CASE("figures come back as fp32, under their tags and steps") {
  const TempFolder folder;
  const int64_t far_step = (int64_t{1} << 40) + 5;
  const double before = static_cast<double>(std::time(nullptr));
  EventFile file(folder / "tensorboard", "host", 42, 7);
  const fs::path path = files_in_order(folder / "tensorboard").at(0);
  file.add("train", "loss", 0.1);
  file.add("train", std::string(200, 'x'), -3e38);
  file.write(7);
  CHECK(decode_events(read_file(path)).size() == 3);  // flushed
  file.add("eval", "loss", std::numeric_limits<double>::quiet_NaN());
  file.write(far_step);
  const std::string bytes = read_file(path);
  // Length, its checksum and first key of the version's record in any file of TensorFlow.
  CHECK(bytes.starts_with(std::string_view("\x18\0\0\0\0\0\0\0\xa3\x7fK\"\x09", 13)));
  const std::vector<Event> events = decode_events(bytes);
  REQUIRE(events.size() == 4);
  CHECK(events[0].version == "brain.Event:2");
  CHECK(events[1].start);
  CHECK(events[1].step == 7);
  CHECK(events[2].step == 7);
  CHECK(events[2].figures == std::map<std::string, float>{
                                 {"train/loss", 0.1f}, {"train/" + std::string(200, 'x'), -3e38f}});
  CHECK(events[3].step == static_cast<uint64_t>(far_step));
  REQUIRE(events[3].figures.size() == 1);
  CHECK(std::isnan(events[3].figures.at("eval/loss")));
  for (const Event& event : events) {
    CHECK(event.wall_time >= before);
    CHECK(event.wall_time < before + 60);
  }
}

TEST_CASE("a message has the bytes of protobuf's wire format") {
  std::string number;
  append_fixed<uint32_t>(number, 0x04030201);
  CHECK(number == "\x01\x02\x03\x04");
  ProtoMessage message;
  message.add_int64(2, 300);
  message.add_bytes(1, "ab");
  CHECK(message.bytes() ==
        "\x10\xac\x02\x0a\x02"
        "ab");
  message.clear();
  message.add_float(2, 1.5f);
  CHECK(message.bytes() == std::string_view("\x15\x00\x00\xc0\x3f", 5));
  message.clear();
  message.add_double(1, -2);
  CHECK(message.bytes() == std::string_view("\x09\0\0\0\0\0\0\0\xc0", 9));
  message.clear();
  message.add_int64(1, -1);
  CHECK(message.bytes() == "\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01");
}

TEST_CASE("a run that goes on adds a file that comes after the earlier ones") {
  const TempFolder folder;
  for (int64_t first_step : {1, 11, 21}) EventFile(folder.path(), "host", 42, first_step);
  const auto files = files_in_order(folder.path());
  REQUIRE(files.size() == 3);
  for (size_t i = 0; i < 3; ++i) {
    CHECK(files[i].filename().string().starts_with("events.out.tfevents."));
    CHECK(decode_events(read_file(files[i])).at(1).step == 10 * i + 1);
  }
}

TEST_CASE("a folder or file that cannot be written is a usage error") {
  const TempFolder folder;
  write_file(folder / "file", "text");
  CHECK_THROWS_AS(EventFile(folder / "file/tensorboard", "host", 1, 1), UserError);
  CHECK_THROWS_AS(EventFile("/proc", "host", 1, 1), UserError);
}
