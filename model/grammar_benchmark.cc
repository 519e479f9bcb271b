// What grammars of JSON schemas cost with Gemma's vocabulary: checking and compiling each once,
// then masks and accepted ids along a random answer. Reads schemas from standard input, one a line:
//
//   bazel build --config=release //model:grammar_benchmark
//   python3 tests/end_to_end/schemas.py 1000 | bazel-bin/model/grammar_benchmark
//
// Times are of the thread's processor, so that others on the machine count little. Compiled parts
// are shared between schemas, as in a worker.
#include <time.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cstdio>
#include <iostream>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "model/grammar.h"
#include "model/schema_grammar.h"
#include "model/testing/real_vocabulary.h"

namespace facet {
namespace {

constexpr int kTokensMax = 128;
constexpr uint32_t kSeed = 7;

double ThreadMicroseconds() {
  timespec time;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) * 1e6 + static_cast<double>(time.tv_nsec) * 1e-3;
}

// Times of one kind of call.
class Times {
 public:
  template <typename Body>
  auto Measure(const Body& body) {
    const double begin = ThreadMicroseconds();
    auto result = body();
    microseconds_.push_back(ThreadMicroseconds() - begin);
    return result;
  }
  void Print(const char* name) {
    if (microseconds_.empty()) return;
    std::sort(microseconds_.begin(), microseconds_.end());
    const auto at = [&](double share) {
      const auto last = static_cast<double>(microseconds_.size() - 1);
      return microseconds_[static_cast<size_t>(share * last)];
    };
    std::printf("%-12s %8zu times, microseconds: median %.1f, p99 %.1f, most %.1f\n", name,
                microseconds_.size(), at(0.5), at(0.99), at(1));
  }

 private:
  std::vector<double> microseconds_;
};

// An id that `mask` allows: the first from a random one on.
int Draw(const std::vector<uint32_t>& mask, std::mt19937& random) {
  const size_t ids = mask.size() * 32;
  for (size_t i = 0, id = random() % ids; i < ids; ++i, id = (id + 1) % ids) {
    if (mask[id / 32] >> (id % 32) & 1) return static_cast<int>(id);
  }
  return -1;
}

int Main() {
  const std::shared_ptr<const Vocabulary> vocabulary = testing::RealVocabulary();
  const std::vector<int32_t> stop_ids(vocabulary->stop_ids().begin(), vocabulary->stop_ids().end());
  Times make, check, compile, fill, accept, exact;
  const auto compiler = make.Measure([&] { return *GrammarCompiler::Make(vocabulary); });
  const auto checker = *GrammarChecker::Make(*vocabulary);
  std::mt19937 random(kSeed);
  std::vector<uint32_t> mask(compiler->mask_words());
  int refused_ids = 0, ended = 0;
  for (std::string line; std::getline(std::cin, line);) {
    const boost::json::value schema = boost::json::parse(line);
    SchemaGrammar grammar = SchemaGrammar::Json();
    const auto root = grammar.Add(schema, "schema");
    CHECK_OK(root);
    const std::string ebnf = absl::StrCat("root ::= ", *root, "\n", grammar.Rules());
    CHECK_OK(check.Measure([&] { return checker->Check(ebnf); }));
    const auto matcher = compile.Measure([&] { return compiler->Compile(ebnf, stop_ids); });
    CHECK_OK(matcher);
    for (int tokens = 0; tokens < kTokensMax; ++tokens) {
      fill.Measure([&] { return (*matcher)->FillMasks({}, absl::MakeSpan(mask)); });
      int id = Draw(mask, random);
      for (int refusals = 0; id >= 0; ++refusals) {
        if (accept.Measure([&] { return (*matcher)->Accept(id); })) break;
        ++refused_ids;
        mask[id / 32] &= ~(uint32_t{1} << (id % 32));
        if (refusals == 32) {
          exact.Measure([&] {
            (*matcher)->FillExactMask(absl::MakeSpan(mask));
            return 0;
          });
        }
        id = Draw(mask, random);
      }
      CHECK_GE(id, 0) << "nothing is allowed under " << line;
      if (std::find(stop_ids.begin(), stop_ids.end(), id) == stop_ids.end()) continue;
      ++ended;
      break;
    }
  }
  std::printf("seed %u; %d answers ended, %d ids refused\n", kSeed, ended, refused_ids);
  make.Print("make");
  check.Print("check");
  compile.Print("compile");
  fill.Print("mask");
  accept.Print("accept");
  exact.Print("exact mask");
  return 0;
}

}  // namespace
}  // namespace facet

int main() { return facet::Main(); }
