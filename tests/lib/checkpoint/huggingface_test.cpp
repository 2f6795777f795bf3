#include "lib/checkpoint/huggingface.h"

#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <limits>
#include <numeric>
#include <set>

#include "lib/checkpoint/hf_names.h"
#include "tests/lib/checkpoint/files.h"

using namespace nemo;
using namespace nemo::test;

namespace {

const std::filesystem::path kGolden = "tests/golden";

struct Sizes {
  int64_t vocab = 64, hidden = 32, ffn = 64, q = 32, kv = 16, positions = 80;
  bool tied = false;
};

LogicalTensor logical(const std::string& name, const Shape& shape) {
  return {.name = name, .role = ParamRole::kNorm, .shape = shape};
}

// What a model of two layers consists of.
std::vector<LogicalTensor> logical_tensors(Family family, const Sizes& s) {
  const bool gpt = family == Family::kGpt;
  std::vector<LogicalTensor> all;
  const auto add = [&](const std::string& module, const Shape& weight) {
    all.push_back(logical(module + ".weight", weight));
    if (gpt) all.push_back(logical(module + ".bias", {weight[0]}));
  };
  all.push_back(logical("embedding.weight", {s.vocab, s.hidden}));
  if (gpt) all.push_back(logical("embedding.position.weight", {s.positions, s.hidden}));
  for (const std::string layer : {"layers.0.", "layers.1."}) {
    add(layer + "attention_norm", {s.hidden});
    add(layer + "attention.q", {s.q, s.hidden});
    add(layer + "attention.k", {s.kv, s.hidden});
    add(layer + "attention.v", {s.kv, s.hidden});
    add(layer + "attention.out", {s.hidden, s.q});
    add(layer + "mlp_norm", {s.hidden});
    std::vector<std::string> mlps = {"mlp."};
    if (family == Family::kMixtral) {
      mlps = {"moe.experts.0.", "moe.experts.1.", "moe.experts.2.", "moe.experts.3."};
      add(layer + "moe.router", {4, s.hidden});
    }
    for (const std::string& mlp : mlps) {
      if (!gpt) add(layer + mlp + "gate", {s.ffn, s.hidden});
      add(layer + mlp + "up", {s.ffn, s.hidden});
      add(layer + mlp + "down", {s.hidden, s.ffn});
    }
  }
  add("final_norm", {s.hidden});
  if (!s.tied) all.push_back(logical("head.weight", {s.vocab, s.hidden}));
  return all;
}

Slice whole(const Shape& shape) {
  return {{0, shape[0]}, {0, shape.num_dims() == 2 ? shape[1] : 1}};
}

std::vector<float> read(const HfCheckpoint& checkpoint, Family family, const LogicalTensor& tensor,
                        const Slice& slice) {
  std::vector<float> values(static_cast<size_t>(slice.rows.size() * slice.cols.size()), -999.0f);
  read_logical(checkpoint, family, tensor, slice, values.data());
  return values;
}

float element(const HfCheckpoint& checkpoint, Family family, const std::string& name,
              const Shape& shape, int64_t row, int64_t col) {
  return read(checkpoint, family, logical(name, shape), {{row, row + 1}, {col, col + 1}})[0];
}

void write_tensors(const std::filesystem::path& path,
                   const std::vector<std::pair<std::string, std::vector<float>>>& tensors) {
  std::vector<SafetensorsWriter::Spec> specs;
  for (const auto& [name, values] : tensors)
    specs.push_back({name, DType::kF32, {static_cast<int64_t>(values.size())}});
  SafetensorsWriter writer(path, specs);
  for (const auto& [name, values] : tensors)
    writer.append(values.data(), static_cast<int64_t>(values.size() * sizeof(float)));
  writer.finish();
}

constexpr const char* kIndex = "model.safetensors.index.json";

}  // namespace

TEST_CASE("logical names lead to Hugging Face names") {
  struct Case {
    Family family;
    std::string logical;
    HfTensorSource source;
  };
  const Case cases[] = {
      {Family::kLlama, "embedding.weight", {"model.embed_tokens.weight"}},
      {Family::kLlama, "head.weight", {"lm_head.weight"}},
      {Family::kLlama,
       "layers.31.attention.out.weight",
       {"model.layers.31.self_attn.o_proj.weight"}},
      {Family::kLlama, "layers.0.mlp.gate.weight", {"model.layers.0.mlp.gate_proj.weight"}},
      {Family::kMixtral,
       "layers.2.moe.router.weight",
       {"model.layers.2.block_sparse_moe.gate.weight"}},
      {Family::kMixtral,
       "layers.2.moe.experts.7.up.weight",
       {"model.layers.2.block_sparse_moe.experts.7.w3.weight"}},
      {Family::kMixtral,
       "layers.2.moe.experts.7.down.weight",
       {"model.layers.2.block_sparse_moe.experts.7.w2.weight"}},
      {Family::kGpt, "embedding.position.weight", {"transformer.wpe.weight"}},
      {Family::kGpt,
       "layers.4.attention.k.weight",
       {"transformer.h.4.attn.c_attn.weight", true, 1, 3}},
      {Family::kGpt,
       "layers.4.attention.v.bias",
       {"transformer.h.4.attn.c_attn.bias", false, 2, 3}},
      {Family::kGpt, "layers.4.attention_norm.weight", {"transformer.h.4.ln_1.weight"}},
      {Family::kGpt, "layers.4.mlp.down.weight", {"transformer.h.4.mlp.c_proj.weight", true}},
      {Family::kGpt, "layers.4.mlp.down.bias", {"transformer.h.4.mlp.c_proj.bias"}},
      {Family::kGpt, "final_norm.bias", {"transformer.ln_f.bias"}},
  };
  for (const Case& c : cases) {
    CAPTURE(c.logical);
    const HfTensorSource source = hf_source(c.family, c.logical);
    CHECK(source.name == c.source.name);
    CHECK(source == c.source);
  }
  for (const std::string name : {"", "embedding", "layers.0", "layers.x.mlp.up.weight",
                                 "layers.0.mlp.gate.weight", "head.scale", "layers..mlp.up.weight"})
    CHECK_THROWS_AS(hf_source(Family::kGpt, name), InvariantError);
}

TEST_CASE("the golden models are read whole, every tensor and nothing else") {
  struct Case {
    std::string folder;
    Family family;
    Sizes sizes;
    int64_t num_parameters;  // as PyTorch counts
  };
  Sizes head_dim{.ffn = 48, .q = 48, .kv = 24}, tied{.vocab = 96, .tied = true};
  Sizes gpt{.kv = 32, .tied = true}, moe{.ffn = 16};
  const Case cases[] = {
      {"llama_gqa", Family::kLlama, {}, 22688},
      {"llama_tied", Family::kLlama, tied, 21664},
      {"llama_rope31", Family::kLlama, {}, 22688},
      {"llama_head_dim", Family::kLlama, head_dim, 22688},
      {"gpt2_tanh", Family::kGpt, gpt, 21760},
      {"mixtral", Family::kMixtral, moe, 22944},
  };
  for (const Case& c : cases) {
    CAPTURE(c.folder);
    const HfCheckpoint checkpoint(kGolden / c.folder);
    std::set<std::string> used;
    int64_t num_parameters = 0;
    for (const LogicalTensor& tensor : logical_tensors(c.family, c.sizes)) {
      CAPTURE(tensor.name);
      const std::vector<float> values = read(checkpoint, c.family, tensor, whole(tensor.shape));
      double square = 0;
      for (const float value : values) square += double{value} * value;
      CHECK(square / static_cast<double>(values.size()) > 0.001);
      CHECK(square / static_cast<double>(values.size()) < 2.0);
      num_parameters += tensor.shape.numel();
      used.insert(hf_source(c.family, tensor.name).name);
    }
    CHECK(num_parameters == c.num_parameters);
    const std::vector<std::string> names = checkpoint.names();
    CHECK(used == std::set<std::string>(names.begin(), names.end()));
  }
}

TEST_CASE("elements are where PyTorch says they are") {
  const HfCheckpoint llama(kGolden / "llama_gqa");
  CHECK(element(llama, Family::kLlama, "layers.1.attention.k.weight", {16, 32}, 3, 5) ==
        0.12213548272848129f);
  CHECK(element(llama, Family::kLlama, "embedding.weight", {64, 32}, 63, 31) ==
        0.15204183757305145f);
  const HfCheckpoint gpt(kGolden / "gpt2_tanh");
  CHECK(element(gpt, Family::kGpt, "layers.1.attention.v.weight", {32, 32}, 7, 20) ==
        -0.0747758150100708f);
  CHECK(element(gpt, Family::kGpt, "layers.1.attention.k.bias", {32}, 9, 0) ==
        0.025671686977148056f);
  CHECK(element(gpt, Family::kGpt, "layers.0.mlp.down.weight", {32, 64}, 30, 63) ==
        -0.008318071253597736f);
  const HfCheckpoint moe(kGolden / "mixtral");
  CHECK(element(moe, Family::kMixtral, "layers.1.moe.experts.2.up.weight", {16, 32}, 15, 31) ==
        -0.17074081301689148f);
}

TEST_CASE("any rectangle equals that part of the whole, transposed or not") {
  const HfCheckpoint gpt(kGolden / "gpt2_tanh");
  const HfCheckpoint llama(kGolden / "llama_gqa");
  const std::pair<const HfCheckpoint*, LogicalTensor> tensors[] = {
      {&gpt, logical("layers.0.attention.k.weight", {32, 32})},
      {&gpt, logical("layers.0.mlp.up.weight", {64, 32})},
      {&llama, logical("layers.0.mlp.down.weight", {32, 64})},
  };
  const Slice slices[] = {
      {{0, 1}, {0, 32}}, {{5, 32}, {31, 32}}, {{7, 19}, {3, 30}}, {{4, 4}, {0, 9}}};
  for (const auto& [checkpoint, tensor] : tensors) {
    const Family family = checkpoint == &gpt ? Family::kGpt : Family::kLlama;
    const std::vector<float> all = read(*checkpoint, family, tensor, whole(tensor.shape));
    for (const Slice& slice : slices) {
      std::vector<float> expected;
      for (int64_t r = slice.rows.begin; r < slice.rows.end; ++r)
        for (int64_t c = slice.cols.begin; c < slice.cols.end; ++c)
          expected.push_back(all[static_cast<size_t>(r * tensor.shape[1] + c)]);
      CHECK(read(*checkpoint, family, tensor, slice) == expected);
    }
    for (const Slice& outside : {Slice{{0, 97}, {0, 1}}, Slice{{0, 1}, {-1, 1}},
                                 Slice{{0, 1}, {0, 97}}, Slice{{2, 1}, {0, 1}}})
      CHECK_THROWS_AS(read_as_float(checkpoint->at(hf_source(family, tensor.name).name), false,
                                    outside, nullptr),
                      InvariantError);
  }
}

TEST_CASE("transposed reads larger than a tile") {
  constexpr int64_t kRows = 70, kCols = 67;
  std::vector<float> values(kRows * kCols);
  std::iota(values.begin(), values.end(), 0.0f);
  const SafetensorsTensor tensor{"x",
                                 &safetensors_dtype(DType::kF32),
                                 {kRows, kCols},
                                 reinterpret_cast<const std::byte*>(values.data()),
                                 0};
  const Slice slice = {{1, 67}, {2, 69}};  // of the transposed [67, 70]
  std::vector<float> out(66 * 67);
  read_as_float(tensor, true, slice, out.data());
  bool equal = true;
  for (int64_t r = 0; r < 66; ++r)
    for (int64_t c = 0; c < 67; ++c)
      equal = equal &&
              out[static_cast<size_t>(r * 67 + c)] == static_cast<float>((c + 2) * kCols + r + 1);
  CHECK(equal);
}

TEST_CASE("every fp16 number and every bf16 number becomes its fp32 value") {
  std::vector<uint16_t> bits(65536);
  std::iota(bits.begin(), bits.end(), uint16_t{0});
  std::vector<float> halves(65536), brains(65536);
  SafetensorsTensor tensor{"x",
                           &safetensors_dtype(DType::kF16),
                           {65536},
                           reinterpret_cast<const std::byte*>(bits.data()),
                           2 * 65536};
  read_as_float(tensor, false, {{0, 65536}, {0, 1}}, halves.data());
  tensor.dtype = &safetensors_dtype(DType::kBF16);
  read_as_float(tensor, false, {{0, 65536}, {0, 1}}, brains.data());
  int num_wrong = 0;
  const auto decode = [](int code, int exponent_bits, int mantissa_bits) {
    const int bias = (1 << (exponent_bits - 1)) - 1;
    const int exponent = (code >> mantissa_bits) & ((1 << exponent_bits) - 1);
    const double mantissa = code & ((1 << mantissa_bits) - 1);
    const double sign = (code & 0x8000) != 0 ? -1.0 : 1.0;
    if (exponent == (1 << exponent_bits) - 1)
      return mantissa == 0 ? sign * std::numeric_limits<double>::infinity() : std::nan("");
    const double fraction = mantissa / (1 << mantissa_bits) + (exponent > 0 ? 1 : 0);
    return sign * std::ldexp(fraction, std::max(exponent, 1) - bias);
  };
  const auto differ = [](float value, double expected) {
    if (std::isnan(expected)) return !std::isnan(value);
    return value != static_cast<float>(expected) || std::signbit(value) != std::signbit(expected);
  };
  for (int code = 0; code < 65536; ++code) {
    num_wrong += differ(halves[static_cast<size_t>(code)], decode(code, 5, 10));
    num_wrong += differ(brains[static_cast<size_t>(code)], decode(code, 8, 7));
  }
  CHECK(num_wrong == 0);
  tensor.dtype = &safetensors_dtype(DType::kU16);
  CHECK(contains(error_of([&] {
                   read_as_float(tensor, false, {{0, 1}, {0, 1}}, halves.data());
                 }),
                 "exit 3: [huggingface] tensor x: expected F32, BF16 or F16, found U16"));
}

TEST_CASE("shards are read through their index") {
  const TempFolder dir;
  write_tensors(dir / "one.safetensors", {{"model.norm.weight", {1, 2, 3}}, {"b", {4}}});
  write_tensors(dir / "two.safetensors", {{"a", {5, 6}}});
  write_file(dir / kIndex, R"({"metadata":{"total_size":24},"weight_map":{
      "b":"one.safetensors","model.norm.weight":"one.safetensors","a":"two.safetensors"}})");
  const HfCheckpoint checkpoint(dir.path());
  CHECK(checkpoint.names() == std::vector<std::string>{"a", "b", "model.norm.weight"});
  CHECK(read(checkpoint, Family::kLlama, logical("final_norm.weight", {3}), {{1, 3}, {0, 1}}) ==
        std::vector<float>{2, 3});
  float a = 0;
  std::memcpy(&a, checkpoint.at("a").data, 4);
  CHECK(a == 5);
}

TEST_CASE("an index and shards that disagree are refused") {
  const TempFolder dir;
  write_tensors(dir / "one.safetensors", {{"a", {1}}, {"b", {2}}});
  write_tensors(dir / "two.safetensors", {{"a", {3}}});
  const auto error = [&](const std::string& index) {
    write_file(dir / kIndex, index);
    return error_of([&] { HfCheckpoint checkpoint(dir.path()); });
  };
  const std::string a = R"({"weight_map":{"a":"one.safetensors")";
  CHECK(error(a + R"(,"b":"one.safetensors"}})") == "");
  CHECK(contains(error(a + "}}"), "it lists 1 tensor, its shards hold 2"));
  CHECK(contains(error(a + R"(,"b":"two.safetensors"}})"),
                 (dir / "two.safetensors").string() + ": expected a tensor b"));
  CHECK(contains(error(a + R"(,"b":"three.safetensors"}})"),
                 (dir / "three.safetensors").string() + ": cannot open it"));
  CHECK(
      contains(error(a + R"(,"b":"../one.safetensors"}})"), "expected the name of a file beside"));
  CHECK(contains(error(a + R"(,"b":7}})"), "expected the name of a file beside it for b, found 7"));
  CHECK(contains(error(a + R"(,"a":"one.safetensors"}})"), "found \"a\" twice"));
  CHECK(contains(error("{}"), "expected an object weight_map"));
  CHECK(contains(error("[]"), "expected an object, found array"));
  CHECK(contains(error("{"), "found bad text at byte"));
  CHECK(contains(error(std::string(3'000'000, '[')), "expected at most 32 levels of nesting"));
}

TEST_CASE("a folder must hold one checkpoint") {
  const TempFolder dir;
  const auto error = [&] { return error_of([&] { HfCheckpoint checkpoint(dir.path()); }); };
  CHECK(contains(error(), "exit 3: [huggingface] " + dir.path().string() +
                              ": expected either model.safetensors or "
                              "model.safetensors.index.json, found neither"));
  write_tensors(dir / "model.safetensors", {{"a", {1}}});
  CHECK(error() == "");
  write_file(dir / kIndex, R"({"weight_map":{}})");
  CHECK(contains(error(), "found both"));
}

TEST_CASE("a body saved without its prefix is found, a missing or misshapen tensor is not") {
  const TempFolder dir;
  write_tensors(dir / "model.safetensors", {{"ln_f.weight", {1, 2}}});
  const HfCheckpoint checkpoint(dir.path());
  const auto error = [&](Family family, const LogicalTensor& tensor) {
    return error_of([&] { read(checkpoint, family, tensor, whole(tensor.shape)); });
  };
  CHECK(error(Family::kGpt, logical("final_norm.weight", {2})) == "");
  CHECK(contains(
      error(Family::kGpt, logical("final_norm.weight", {3})),
      "tensor transformer.ln_f.weight: expected [3] for final_norm.weight [3], found [2]"));
  CHECK(contains(error(Family::kGpt, logical("layers.0.attention.q.weight", {2, 2})),
                 "exit 3: [huggingface] " + dir.path().string() +
                     ": expected a tensor transformer.h.0.attn.c_attn.weight, found 1 others"));
  CHECK(contains(error(Family::kLlama, logical("final_norm.weight", {2})),
                 "expected a tensor model.norm.weight"));
}
