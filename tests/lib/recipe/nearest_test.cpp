#include "lib/recipe/nearest.h"

#include <doctest/doctest.h>

#include <vector>

using namespace nemo;

TEST_CASE("typing mistakes are counted in halves") {
  CHECK(typing_distance("tp_size", "tp_size", 99) == 0);
  CHECK(typing_distance("tp_size", "tp_sise", 99) == 2);
  CHECK(typing_distance("tp_size", "pt_size", 99) == 2);  // swapped
  CHECK(typing_distance("tp_size", "tpsize", 99) == 2);
  CHECK(typing_distance("TP_size", "tp_size", 99) == 2);  // two letters, half each
  CHECK(typing_distance("", "abc", 99) == 6);
  CHECK(typing_distance("abcdef", "uvwxyz", 3) == 4);  // gave up
}

TEST_CASE("the nearest word, and the nearest key whatever its section") {
  const std::vector<std::string_view> words = {"text", "mock", "megatron"};
  CHECK(nearest_word("txt", words) == "text");
  CHECK(nearest_word("Mock", words) == "mock");
  const std::vector<std::string_view> keys = {"trainer.tp", "optim.lr", "optim.eps"};
  CHECK(nearest_key("trainer.lr", keys) == "optim.lr");
  CHECK(nearest_key("trainer.tpp", keys) == "trainer.tp");
}

TEST_CASE("an abbreviation in the same section comes before a small mistake") {
  CHECK(abbreviates("warmup", "warmup_steps"));
  CHECK(abbreviates("num_head", "num_attention_heads"));
  CHECK(abbreviates("batch_size", "global_batch_size"));
  CHECK_FALSE(abbreviates("size_batch", "batch_size"));
  CHECK_FALSE(abbreviates("arm", "warmup"));  // not the beginning of a word
  CHECK_FALSE(abbreviates("", "warmup"));
  const std::vector<std::string_view> keys = {"optim.name", "optim.warmup_steps", "data.warm",
                                              "optim.warmups", "optim.warn"};
  CHECK(nearest_key("optim.warm", keys) == "optim.warmups");
  CHECK(nearest_key("optim.w_steps", keys) == "optim.warmup_steps");
}

TEST_CASE("nothing far is suggested") {
  const std::vector<std::string_view> keys = {"optim.betas", "trainer.num_nodes"};
  CHECK(nearest_key("model.bias", keys) == "");
  CHECK(nearest_key("trainer.num_gpus", keys) == "");
  CHECK(nearest_key("traner.betas", keys) == "optim.betas");
  CHECK(nearest_word("plan", std::vector<std::string_view>{"data", "recipes"}) == "");
  CHECK(nearest_word("slurm", std::vector<std::string_view>{"data", "recipes"}) == "");
}

TEST_CASE("a word is near another while half of its letters are right") {
  CHECK(is_near("lama", "llama"));
  CHECK(is_near("abcd", "abxy"));
  CHECK_FALSE(is_near("abcd", "axyz"));
  CHECK_FALSE(is_near("", "abc"));
  CHECK(is_near("full_shrad", "FULL_SHARD"));
}

TEST_CASE("the nearest numbers that would do") {
  CHECK(nearest_divisors(32, 3) == "2 or 4");
  CHECK(nearest_divisors(32, 100) == "32");
  CHECK(nearest_divisors(7, 4) == "1 or 7");
  CHECK(nearest_divisors(6, 6) == "6");
  CHECK(nearest_multiples(8, 13) == "8 or 16");
  CHECK(nearest_multiples(8, 3) == "8");
}
