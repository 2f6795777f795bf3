// nemo-cpp data, and training on Megatron's and llm.c's files.
#include <doctest/doctest.h>

#include <algorithm>

#include "tests/cli/run_folder.h"
#include "tests/support/damaged_data.h"

using namespace nemo;

TEST_CASE("data inspect and verify print to standard output and take several paths") {
  const test::TempFolder folder;
  const std::string a = test::write_megatron(folder / "a", test::counting_documents({9, 9}));
  const std::string b =
      test::write_file(folder / "b", test::shard<uint16_t>({20240520, 1, 1}, {7}));
  const ProgramResult seen = run_program("data inspect " + a + " " + b);
  CHECK(seen.exit_code == 0);
  CHECK(seen.err == "");
  CHECK(seen.out.starts_with("\"" + a + "\":\n  kind: megatron\n"));
  CHECK(seen.out.find("\"" + b + "\":\n  kind: llmc\n") != std::string::npos);
  const ProgramResult r = run_program("data verify --vocab-size 18 " + a + " " + b);
  CHECK(r.exit_code == 0);
  CHECK(r.err == "");
  CHECK(r.out == a + ": megatron, 2 documents, 18 uint16 tokens, ids below 18: sound\n" + b +
                     ": llmc, 1 uint16 token, ids below 18: sound\n");
  const ProgramResult wrong = run_program("data verify --vocab-size 7 " + a + " /nowhere " + b);
  CHECK(wrong.exit_code == 3);
  CHECK(wrong.out == "");
  CHECK(std::ranges::count(wrong.err, '\n') == 3);
  CHECK(wrong.err.starts_with("error: " + a + ".bin: token 7 is 7, a vocabulary of 7"));
  CHECK(wrong.err.find("error: /nowhere: there is no such file") != std::string::npos);
  CHECK(run_program("data").exit_code == 2);
  CHECK(run_program("data verify").exit_code == 2);
  CHECK(run_program("data verify --kind mock " + a).exit_code == 2);
  CHECK(run_program("data verify --vocab-size 0 " + a).exit_code == 2);
}

TEST_CASE("each of the damaged files ends data verify with 3 and one line that names it") {
  const test::TempFolder folder;
  const test::DamagedFiles damaged(folder.path());
  CHECK(damaged.all().size() >= 200);
#ifdef NEMO_SANITIZED  // a program takes long to start; tests/lib/data reads all of them in one
                       // process
  const size_t stride = 10;
#else
  const size_t stride = 1;
#endif
  for (size_t i = 0; i < damaged.all().size(); i += stride) {
    const test::DamagedData& data = damaged.all()[i];
    CAPTURE(data.what);
    const ProgramResult r = run_program("data verify --vocab-size 1000 --kind " +
                                        std::string(to_string(data.kind)) + " " + data.path);
    CAPTURE(r.err);
    CHECK(r.exit_code == 3);
    CHECK(r.out == "");
    CHECK(r.err.starts_with("error: " + data.path));
    CHECK(std::ranges::count(r.err, '\n') == 1);
  }
}

TEST_CASE("training on a blend and on shards is the same on one rank and on two, and evaluates") {
  const test::TempFolder data;
  std::vector<int32_t> lengths;
  for (int32_t i = 0; i < 40; ++i) lengths.push_back(20 + i);
  auto documents = test::counting_documents(lengths);
  for (auto& document : documents)
    for (uint16_t& token : document) token %= 257;
  test::write_megatron(data / "a", documents);
  documents.resize(20);
  test::write_megatron(data / "b", documents);
  std::vector<uint16_t> tokens(2000);
  for (size_t i = 0; i < tokens.size(); ++i) tokens[i] = static_cast<uint16_t>(i % 257);
  test::write_file(data / "c.bin", test::shard({20240520, 1, 2000}, tokens));
  const std::string in = data.path().string() + "/";
  for (const std::string& kind :
       {"data.kind=megatron data.split=[8,2,0] data.paths=[0.3," + in + "a,0.7," + in + "b]",
        "data.kind=megatron data.split=[8,2,0] data.paths=" + in + "a",
        "data.kind=llmc data.paths=" + in + "c.bin"}) {
    CAPTURE(kind);
    const RunFolder one, two;
    const std::string run = "trainer.val_check_interval=3 trainer.limit_val_batches=1 " + kind;
    const ProgramResult r = run_program(one.pretrain(run));
    CAPTURE(r.err);
    CHECK(r.exit_code == 0);
    CHECK(run_program(two.pretrain("dp_size=2 " + run)).exit_code == 0);
    REQUIRE(one.lines("step").size() == 3);
    REQUIRE(two.lines("step").size() == 3);
    for (size_t i = 0; i < 3; ++i)
      CHECK(one.lines("step")[i]["loss"].get<double>() ==
            doctest::Approx(two.lines("step")[i]["loss"].get<double>()).epsilon(1e-6));
    CHECK(one.lines("eval").size() == 1);
    CHECK(one.lines("eval")[0]["num_tokens"] == 8 * 16);
    // The resolved recipe keeps weights as they are.
    const std::string recipe = (one.path() / "recipe.resolved.yaml").string();
    const RunFolder again;
    CHECK(run_program("pretrain --recipe " + recipe + " log.dir=" + again.path().string())
              .exit_code == 0);
    CHECK(again.curve() == one.curve());
  }
}

TEST_CASE("an id outside the model's vocabulary ends training with 3, however late it comes") {
  const test::TempFolder data;
  std::vector<uint16_t> tokens(300000, 5);
  // Beyond what opening looks at.
  std::fill(tokens.begin() + 270000, tokens.end(), uint16_t{257});
  test::write_file(data / "c.bin", test::shard({20240520, 1, 300000}, tokens));
  const RunFolder folder;
  const ProgramResult r = run_program(
      folder.pretrain("data.kind=llmc data.split=[1,0,0] trainer.max_steps=50 data.paths=" +
                      (data / "c.bin").string()));
  CHECK(r.exit_code == 3);
  CHECK(r.err.find("c.bin: token 2") != std::string::npos);
  CHECK(r.err.find(" is 257, a vocabulary of 257 has ids 0 to 256; ") != std::string::npos);
  CHECK(folder.lines("step").size() < 50);
  CHECK(folder.lines("end")[0]["exit_code"] == 3);
}

TEST_CASE("files of token ids are not trained on as text") {
  const test::TempFolder data;
  const std::string pair = test::write_megatron(data / "a", test::counting_documents({900, 900}));
  const std::string shard = test::write_file(
      data / "b.tokens", test::shard({20240520, 1, 1000}, std::vector<uint16_t>(1000, 7)));
  const RunFolder folder;
  const auto error = [&](const std::string& path) {
    const ProgramResult r = run_program(folder.pretrain("data.kind=text data.paths=" + path));
    CHECK(r.exit_code == 3);
    return r.err;
  };
  CHECK(error(shard) == "error: [data.paths] " + shard +
                            ": is an llm.c shard, not text; data.kind=llmc would do\n");
  for (const char* extension : {".bin", ".idx"})
    CHECK(error(pair + extension) == "error: [data.paths] " + pair + extension +
                                         ": is one of Megatron's pair " + pair +
                                         ".idx and .bin, not text; data.kind=megatron with "
                                         "data.paths=" +
                                         pair + " would do\n");
  // A name alone says nothing.
  const std::string text = test::write_file(data / "notes.bin", std::string(1000, 'x'));
  CHECK(run_program(folder.pretrain("data.kind=text data.paths=" + text)).exit_code == 0);
}
