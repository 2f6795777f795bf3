#include "lib/checkpoint/safetensors.h"

#include <doctest/doctest.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>

#include "lib/core/philox.h"
#include "tests/lib/checkpoint/files.h"

using namespace nemo;
using namespace nemo::test;

namespace {

const char* const kGolden = "tests/golden/llama_gqa/model.safetensors";

// Two tensors and metadata: 4 + 12 bytes of data.
const std::string kHeader = R"({"__metadata__":{"format":"pt"},)"
                            R"("a":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]},)"
                            R"("b":{"dtype":"F32","shape":[3,1],"data_offsets":[4,16]}})";

std::string open_error(const std::string& bytes) {
  const TempFolder dir;
  write_file(dir / "m.safetensors", bytes);
  return error_of([&] { SafetensorsFile(dir / "m.safetensors"); });
}

std::string header_error(const std::string& header, const std::string& data = "") {
  return open_error(safetensors_bytes(header, data));
}

// A header of one F32 tensor x with these fields.
std::string one(const std::string& shape, const std::string& offsets) {
  return R"({"x":{"dtype":"F32","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}}";
}

}  // namespace

TEST_CASE("a written safetensors file reads back, and its bytes are the format's") {
  const TempFolder dir;
  const auto path = dir / "m.safetensors";
  const std::array<float, 3> b = {1.0f, -2.5f, 3e-9f};
  const std::array<BFloat16, 2> a = {to_bfloat16(7.0f), to_bfloat16(-0.5f)};
  {
    SafetensorsWriter writer(path, {{"b", DType::kF32, {3, 1}}, {"a", DType::kBF16, {2}}},
                             {{"format", "made"}});
    writer.append(b.data(), 5);  // in pieces
    writer.append(reinterpret_cast<const char*>(b.data()) + 5, 7);
    writer.append(a.data(), 4);
    CHECK_FALSE(std::filesystem::exists(path));
    writer.finish();
  }
  CHECK_FALSE(std::filesystem::exists(dir / "m.safetensors.tmp"));
  const std::string header =
      R"({"__metadata__":{"format":"made"},"b":{"dtype":"F32","shape":[3,1],"data_offsets":[0,12]},)"
      R"("a":{"dtype":"BF16","shape":[2],"data_offsets":[12,16]}})";
  std::string data(16, '\0');
  std::memcpy(data.data(), b.data(), 12);
  std::memcpy(data.data() + 12, a.data(), 4);
  REQUIRE(header.size() % 8 != 0);
  const std::string padded = header + std::string((8 - header.size() % 8) % 8, ' ');
  CHECK(read_file(path) == safetensors_bytes(padded, data));

  const SafetensorsFile file(path);
  REQUIRE(file.tensors().size() == 2);
  CHECK(file.metadata().at("format") == "made");
  CHECK(file.tensors()[0].name == "a");
  CHECK(file.at("a").dtype->dtype == DType::kBF16);
  CHECK(file.at("b").shape == std::vector<int64_t>{3, 1});
  CHECK(std::memcmp(file.at("b").data, b.data(), 12) == 0);
  CHECK(std::memcmp(file.at("a").data, a.data(), 4) == 0);
  CHECK(file.find("aa") == nullptr);
  CHECK(file.find("c") == nullptr);
  CHECK(contains(error_of([&] { file.at("c"); }),
                 "exit 3: [safetensors] " + path.string() + ": expected a tensor c"));
}

TEST_CASE("a file that PyTorch wrote reads as PyTorch reads it") {
  const SafetensorsFile file(kGolden);
  CHECK(file.tensors().size() == 21);
  CHECK(file.metadata().at("format") == "pt");
  const SafetensorsTensor& k = file.at("model.layers.1.self_attn.k_proj.weight");
  CHECK(k.shape == std::vector<int64_t>{16, 32});
  CHECK(k.num_bytes == 16 * 32 * 4);
  float value = 0;
  std::memcpy(&value, k.data + (3 * 32 + 5) * 4, 4);
  CHECK(value == 0.12213548272848129f);
}

TEST_CASE("scalars, empty tensors and empty files are legal") {
  CHECK(header_error("{}") == "");
  CHECK(header_error(one("[]", "[0,4]"), "1234") == "");
  CHECK(header_error(one("[0,5]", "[0,0]")) == "");
  CHECK(header_error(kHeader, std::string(16, 'x')) == "");
}

TEST_CASE("each dtype has its width") {
  const std::pair<std::string, int64_t> dtypes[] = {
      {"F64", 8},  {"F32", 4}, {"F16", 2},     {"BF16", 2},    {"I64", 8},    {"I32", 4},
      {"I16", 2},  {"I8", 1},  {"U64", 8},     {"U32", 4},     {"U16", 2},    {"U8", 1},
      {"BOOL", 1}, {"C64", 8}, {"F8_E4M3", 1}, {"F8_E5M2", 1}, {"F8_E8M0", 1}};
  for (const auto& [name, width] : dtypes) {
    CAPTURE(name);
    const std::string bytes(static_cast<size_t>(3 * width), 'x');
    CHECK(header_error(R"({"x":{"dtype":")" + name + R"(","shape":[3],"data_offsets":[0,)" +
                           std::to_string(3 * width) + "]}}",
                       bytes) == "");
  }
  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kF16, DType::kF64, DType::kI32,
                            DType::kI64, DType::kU8, DType::kU16})
    CHECK(safetensors_dtype(dtype).num_bytes == size_of(dtype));
}

TEST_CASE("an unfinished write leaves nothing; writing too much or too little is a bug") {
  const TempFolder dir;
  {
    SafetensorsWriter writer(dir / "m.safetensors", {{"a", DType::kF32, {2}}});
    const float value = 0;
    writer.append(&value, 4);
    CHECK_THROWS_AS(writer.finish(), InvariantError);
    writer.append(&value, 4);
    CHECK_THROWS_AS(writer.append(&value, 4), InvariantError);
  }
  CHECK(std::filesystem::is_empty(dir.path()));
  CHECK_THROWS_AS(
      SafetensorsWriter(dir / "twice", {{"a", DType::kF32, {2}}, {"a", DType::kF32, {2}}}),
      InvariantError);
  CHECK(std::filesystem::is_empty(dir.path()));
  CHECK(contains(error_of([&] { SafetensorsWriter(dir / "no/where", {}); }),
                 "exit 3: [safetensors] " + (dir / "no/where.tmp").string() + ": cannot create"));
}

TEST_CASE("a full disk is a data error" * doctest::skip(!std::filesystem::exists("/dev/full"))) {
  const TempFolder dir;
  std::filesystem::create_symlink("/dev/full", dir / "m.tmp");
  CHECK(contains(error_of([&] {
                   SafetensorsWriter(dir / "m", {{"a", DType::kF32, {2}}});
                 }),
                 "cannot write: No space left on device"));
}

TEST_CASE("files that are no safetensors files are refused by name") {
  const TempFolder dir;
  CHECK(contains(
      error_of([&] { SafetensorsFile(dir / "none"); }),
      "exit 3: [safetensors] " + (dir / "none").string() + ": cannot open it: No such file"));
  CHECK(contains(error_of([&] { SafetensorsFile(dir.path()); }), "it is a folder"));
  REQUIRE(::mkfifo((dir / "pipe").c_str(), 0600) == 0);
  CHECK(contains(error_of([&] { SafetensorsFile(dir / "pipe"); }), "it is not a regular file"));
  CHECK(contains(open_error(""), "expected at least 8 bytes, found 0"));
  CHECK(contains(open_error("1234567"), "expected at least 8 bytes, found 7"));
  CHECK(contains(open_error("12345678{}"), "expected a header of at most 2 bytes, found length"));
  CHECK(contains(open_error(std::string(8, '\xff') + "{}"), "found length 18446744073709551615"));
}

TEST_CASE("a header longer than the format allows is refused before it is read") {
  const TempFolder dir;
  const uint64_t length = 100'000'001;
  write_file(dir / "m", std::string(reinterpret_cast<const char*>(&length), 8));
  std::filesystem::resize_file(dir / "m", 200'000'000);  // sparse
  CHECK(contains(error_of([&] { SafetensorsFile(dir / "m"); }),
                 "expected a header of at most 100000000 bytes, found length 100000001"));
}

TEST_CASE("every fact of the header is checked") {
  struct Case {
    std::string header, message;
  };
  const std::string full = R"("dtype":"F32","shape":[1],"data_offsets":[0,4])";
  const Case cases[] = {
      {"", "bad JSON"},
      {"{", "bad JSON"},
      {"[]", "found an array in the header"},
      {"3", "found a number in the header"},
      {"null", "found null"},
      {"{}x", "bad JSON at its byte 3"},
      {R"({"x":3})", "found a number in tensor x"},
      {R"({"x":[]})", "found an array in tensor x"},
      {R"({"x":{}})", "found an end without dtype, shape and data_offsets in tensor x"},
      {R"({"x":{"dtype":"F32","shape":[1]}})", "found an end without dtype"},
      {R"({"x":{"dtype":"F31","shape":[1],"data_offsets":[0,4]}})", "found dtype F31 in tensor x"},
      {R"({"x":{"dtype":4,"shape":[1],"data_offsets":[0,4]}})", "found a number in tensor x"},
      {R"({"x":{)" + full + R"(,"extra":1}})", "found field extra in tensor x"},
      {R"({"x":{)" + full + R"(,"shape":[1]}})", "found a second shape in tensor x"},
      {R"({"x":{)" + full + R"(},"x":{)" + full + "}}", "expected each tensor once, found x twice"},
      {R"({"x\u000ay":{)" + full + "}}", "a name with a control character"},
      {R"({"__metadata__":{"a":1}})", "found a number in the header"},
      {R"({"__metadata__":{"a":{}}})", "found an object in the header"},
      {R"({"__metadata__":{"a":"1","a":"2"}})", "found a second a"},
      {R"({"__metadata__":{},"__metadata__":{}})", "found a second __metadata__"},
      {one("[-1]", "[0,4]"), "found a negative number in tensor x"},
      {one("[1.0]", "[0,4]"), "found 1.0 in tensor x"},
      {one("[[1]]", "[0,4]"), "found an array in tensor x"},
      {one("[\"1\"]", "[0,4]"), "found a string in tensor x"},
      {one("[true]", "[0,4]"), "found a boolean in tensor x"},
      {one("1", "[0,4]"), "found a number in tensor x"},
      {one("[1]", "[0]"), "found fewer than two data_offsets in tensor x"},
      {one("[1]", "[0,4,4]"), "found a third data offset in tensor x"},
      {one("[1]", "[0,9223372036854775808]"), "found 9223372036854775808 in tensor x"},
      {one("[1]", "[0,99999999999999999999]"), "found 99999999999999999999 in tensor x"},
      {one("[1]", "[4,0]"), "tensor x: F32 [1] needs 4 bytes, data_offsets are [4, 0]"},
      {one("[2]", "[0,4]"), "tensor x: F32 [2] needs 8 bytes, data_offsets are [0, 4]"},
      {one("[4294967296,4294967296]", "[0,4]"), "more bytes than 64 bits count"},
      {one("[2305843009213693952]", "[0,4]"), "more bytes than 64 bits count"},
      {one("[2]", "[0,8]"), "expected 8 bytes of data after the header, found 4: the file is cut"},
      {one("[0]", "[0,0]"), "expected 0 bytes of data after the header, found 4: junk"},
      {one("[1]", "[4,8]"), "expected its data at byte 0, found 4: tensors leave a hole"},
      {R"({"x":{)" + full + R"(},"y":{)" + full + "}}",
       "tensor y: expected its data at byte 4, found 0: tensors overlap"},
  };
  for (const Case& c : cases) {
    CAPTURE(c.header);
    const std::string message = header_error(c.header, "1234");
    CAPTURE(message);
    CHECK(message.starts_with("exit 3: [safetensors] "));
    CHECK(contains(message, "m.safetensors: "));
    CHECK(contains(message, c.message));
    CHECK_FALSE(contains(message, "\n"));
  }
}

TEST_CASE("nesting bombs end at their first bracket") {
  const std::string brackets(5'000'000, '[');
  CHECK(contains(header_error(brackets), "found an array in the header"));
  CHECK(contains(header_error(one(brackets, "[0,4]")), "found an array in tensor x"));
  std::string objects;
  for (int i = 0; i < 1'000'000; ++i) objects += R"({"a":)";
  CHECK(contains(header_error(objects), "found field a in tensor a"));
}

TEST_CASE("a file cut anywhere is refused") {
  const std::string whole = safetensors_bytes(kHeader, std::string(16, 'x'));
  CHECK(open_error(whole) == "");
  for (size_t size = 0; size < whole.size(); ++size) {
    CAPTURE(size);
    CHECK(open_error(whole.substr(0, size)).starts_with("exit 3: "));
  }
  CHECK(contains(open_error(whole + "x"), "junk at the end"));
}

// Whatever the bytes are: a data error, or tensors that cover the data exactly.
TEST_CASE("flipped bytes never crash or lead out of the file") {
  const TempFolder dir;
  const auto path = dir / "m";
  std::vector<SafetensorsWriter::Spec> specs;
  for (int i = 0; i < 12; ++i)
    specs.push_back({"layers." + std::to_string(i) + ".weight", DType::kBF16, {i, 2}});
  {
    SafetensorsWriter writer(path, specs, {{"format", "pt"}});
    const std::string data(66 * 4, 'x');
    writer.append(data.data(), static_cast<int64_t>(data.size()));
    writer.finish();
  }
  const std::string whole = read_file(path);
  const size_t header_end = whole.find("}}") + 2;
  const std::string likely = "{}[]\",:-.0123456789";  // what keeps it nearly JSON
  int num_refused = 0, num_accepted = 0;
  int64_t sum = 0;
  for (uint64_t round = 0; round < 4000; ++round) {
    const PhiloxBlock random = philox(round, 0);
    std::string bytes = whole;
    for (uint32_t flip = 0; flip <= random[0] % 4; ++flip) {
      const PhiloxBlock where = philox(round, flip + 1);
      bytes[where[0] % header_end] =
          where[1] % 2 == 0 ? static_cast<char>(where[2]) : likely[where[2] % likely.size()];
    }
    if (random[1] % 8 == 0) bytes.resize(random[2] % whole.size());
    write_file(path, bytes);
    int64_t data_bytes = 0;
    const std::string error = error_of([&] {
      const SafetensorsFile file(path);
      for (const SafetensorsTensor& tensor : file.tensors()) {
        data_bytes += tensor.num_bytes;
        for (int64_t i = 0; i < tensor.num_bytes; ++i) sum += static_cast<int64_t>(tensor.data[i]);
      }
    });
    uint64_t length = 0;
    std::memcpy(&length, bytes.data(), std::min<size_t>(bytes.size(), 8));
    const bool fits =
        data_bytes + 8 + static_cast<int64_t>(length) == static_cast<int64_t>(bytes.size());
    if (error.empty() ? !fits : !error.starts_with("exit 3: ")) FAIL_CHECK(round << ": " << error);
    (error.empty() ? num_accepted : num_refused) += 1;
  }
  CHECK(sum == int64_t{num_accepted} * 66 * 4 * 'x');  // every byte of the data was readable
  CHECK(num_refused > 3000);
  CHECK(num_accepted > 100);  // letters of names may change
}
