// Speed of the tokenizer on the real vocabulary. Run it with
//   bazel run --config=release //model:tokenizer_benchmark
// `bytes_per_second` is on one core. Prose is made of English-like words in Zipf's proportions.
// tokenizer_benchmark_huggingface.py measures the same texts with Hugging Face's `tokenizers`,
// which this program writes out if FACET_TEXT_DIR is set.

#include <benchmark/benchmark.h>

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "model/detokenizer.h"
#include "model/testing/real_vocabulary.h"
#include "model/tokenizer.h"

namespace facet {
namespace {

constexpr size_t kTextBytes = 1'000'000;

// A word of one to four syllables; the n-th word is always the same.
std::string Word(int n) {
  static const char* const kFirst[] = {"b", "c", "d", "f", "st", "gr", "l", "m",  "n", "p",
                                       "r", "s", "t", "w", "th", "ch", "",  "pr", "h", "sh"};
  static const char* const kMiddle[] = {"a", "e", "i", "o", "u", "ea", "ou", "io", "ee", "ai"};
  static const char* const kLast[] = {"", "n", "r", "s", "t", "nd", "ng", "ly", "d", "l"};
  std::mt19937 random(n);
  std::string word;
  for (int syllables = 1 + random() % (n < 200 ? 1 : 4); syllables > 0; --syllables) {
    word += kFirst[random() % std::size(kFirst)];
    word += kMiddle[random() % std::size(kMiddle)];
    word += kLast[random() % std::size(kLast)];
  }
  return word;
}

// Sentences of words whose n-th is used in proportion to 1/n, out of `words`.
std::string Prose(int words) {
  std::mt19937 random(1);
  std::uniform_real_distribution<double> uniform;
  std::string text;
  bool capital = true;
  while (text.size() < kTextBytes) {
    // The inverse of the sum of 1/n, nearly.
    std::string word = Word(static_cast<int>(std::pow(words, uniform(random))));
    if (capital) word[0] = static_cast<char>(word[0] - 'a' + 'A');
    text += word;
    const int end = random() % 100;
    capital = end < 8;
    text += end < 6 ? ". " : end < 8 ? ".\n\n" : end < 15 ? ", " : " ";
  }
  return text;
}

std::string Repeat(const std::string& part) {
  std::string text;
  while (text.size() < kTextBytes) text += part;
  return text;
}

std::string Emoji() {
  std::mt19937 random(1);
  std::string text;
  while (text.size() < kTextBytes) {
    text += "\xF0\x9F\x98";
    text += static_cast<char>(0x80 + random() % 64);
  }
  return text;
}

void Run(benchmark::State& state, const Tokenizer& tokenizer, const std::string& text) {
  size_t count = 0;
  for (auto _ : state) count = tokenizer.Encode(text).size();
  state.SetBytesProcessed(state.iterations() * text.size());
  state.counters["bytes_per_token"] = static_cast<double>(text.size()) / count;
}

// Every word was seen before.
void BM_Warm(benchmark::State& state, const std::string& text) {
  const Tokenizer tokenizer(testing::RealVocabulary());
  tokenizer.Encode(text);
  Run(state, tokenizer, text);
}

// Each pass begins with nothing seen.
void BM_Cold(benchmark::State& state, const std::string& text) {
  size_t count = 0;
  for (auto _ : state) {
    state.PauseTiming();
    auto tokenizer = std::make_unique<Tokenizer>(testing::RealVocabulary());
    state.ResumeTiming();
    count = tokenizer->Encode(text).size();
    state.PauseTiming();
    tokenizer.reset();
    state.ResumeTiming();
  }
  state.SetBytesProcessed(state.iterations() * text.size());
  state.counters["bytes_per_token"] = static_cast<double>(text.size()) / count;
}

void BM_Detokenize(benchmark::State& state, const std::string& text) {
  const std::vector<int> ids = Tokenizer(testing::RealVocabulary()).Encode(text);
  for (auto _ : state) {
    Detokenizer detokenizer(testing::RealVocabulary(), true);
    for (const int id : ids) benchmark::DoNotOptimize(detokenizer.Add(id));
  }
  state.SetBytesProcessed(state.iterations() * text.size());
}

void BM_LoadVocabulary(benchmark::State& state) {
  const Metadata& metadata = testing::RealVocabularyMetadata();
  for (auto _ : state) benchmark::DoNotOptimize(Vocabulary::FromMetadata(metadata));
}

// For tokenizer_benchmark_huggingface.py.
void Write(const std::string& directory, const std::string& name, const std::string& text) {
  std::ofstream(directory + "/" + name + ".txt", std::ios::binary) << text;
  std::ofstream ids(directory + "/" + name + ".ids");
  for (const int id : Tokenizer(testing::RealVocabulary()).Encode(text)) ids << id << "\n";
}

void Register(const std::string& name, const std::string& text, bool cold) {
  benchmark::RegisterBenchmark(("Warm/" + name).c_str(),
                               [=](benchmark::State& state) { BM_Warm(state, text); });
  if (cold) {
    benchmark::RegisterBenchmark(("Cold/" + name).c_str(),
                                 [=](benchmark::State& state) { BM_Cold(state, text); });
  }
  if (const char* directory = std::getenv("FACET_TEXT_DIR")) Write(directory, name, text);
}

void RegisterAll() {
  Register("prose", Prose(20'000), true);
  Register("prose_of_rare_words", Prose(2'000'000), true);
  Register("one_letter", Repeat("a"), true);
  Register("spaces", Repeat(" "), true);
  Register("newlines", Repeat("\n"), true);
  Register("one_emoji", Repeat("😀"), true);
  Register("emoji", Emoji(), true);
  const std::string prose = Prose(20'000);
  benchmark::RegisterBenchmark("Detokenize/prose",
                               [=](benchmark::State& state) { BM_Detokenize(state, prose); });
  benchmark::RegisterBenchmark("LoadVocabulary", BM_LoadVocabulary);
}

}  // namespace
}  // namespace facet

int main(int argc, char** argv) {
  facet::RegisterAll();
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
