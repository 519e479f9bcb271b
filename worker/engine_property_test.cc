// The law of serving under random schedules: arrivals, cancels, deadlines, priorities, shared
// prefixes, preemptions, evictions, drafts, resumed answers, host memory, a disk that loses pages,
// another worker that has pages and does not always give them, grammars, adapters, and restarts,
// under a virtual clock, with the engine's invariants checked after each step. Each request must
// give the tokens of its lone run, or a beginning of them where it was cut short. FACET_SCHEDULES
// sets how many schedules are run, FACET_SEED where they start.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/status_matchers.h"
#include "gtest/gtest.h"
#include "model/grammar.h"
#include "model/testing/random_adapter.h"
#include "proto/request_keys.h"
#include "tests/fake_worker/small_model.h"
#include "worker/engine.h"
#include "worker/engine_options.h"
#include "worker/loaded_model.h"
#include "worker/testing/fake_peers.h"
#include "worker/testing/guessing_drafter.h"

namespace facet {
namespace {

constexpr int kSchedulesDefault = 150;
constexpr int kRequests = 40;     // distinct ones, of which each schedule plays some
constexpr int kStepsMax = 20000;  // of one schedule: it ends long before
constexpr int kContextTokens = 320;
constexpr const char* kAdapters[] = {"a", "b"};

int FromEnvironment(const char* name, int otherwise) {
  const char* text = std::getenv(name);
  int value;
  return text != nullptr && absl::SimpleAtoi(text, &value) ? value : otherwise;
}

struct Result {
  std::vector<uint32_t> tokens;
  v1::FinishReason finish_reason = v1::FINISH_REASON_UNSPECIFIED;
  int finishes = 0;
  v1::Ledger ledger;
};

// For one thread: the test drives the engine itself.
class Results final : public StepSink {
 public:
  void OnStep(std::vector<Output> outputs) override {
    for (const Output& output : outputs) {
      Result& result = by_id[output.stream_id];
      for (const uint32_t token : output.reply.tokens()) result.tokens.push_back(token);
      if (output.reply.finish_reason() == v1::FINISH_REASON_UNSPECIFIED) continue;
      result.finish_reason = output.reply.finish_reason();
      result.ledger = output.reply.ledger();
      ++result.finishes;
      ++finished;
    }
  }
  std::map<uint64_t, Result> by_id;
  int finished = 0;
};

struct Limits {
  int running_requests_max;
  int step_tokens_max;
  int64_t kv_bytes;
  int drafts_max = 0;  // 0: no drafter
  TierOptions tiers = {};
  bool clean_stop = true;  // otherwise what was not written to disk is lost
  bool peers = false;      // another worker has pages of all prompts; only with host memory
};

// The contents of a page at that worker.
std::string PageOfDonor(const PoolKey& page);

// Null without XGrammar.
GrammarCompiler* Compiler() {
  static GrammarCompiler* const compiler = [] {
    auto made = GrammarCompiler::Make(testing::SmallVocabulary());
    return made.ok() ? made->release() : nullptr;
  }();
  return compiler;
}

// A tiny random model and an engine that the test steps.
class Stepped {
 public:
  explicit Stepped(const Limits& limits) : results(std::make_shared<Results>()) {
    LoadOptions load;
    load.threads = 1;
    load.kv = {limits.kv_bytes, kContextTokens, limits.running_requests_max,
               limits.step_tokens_max};
    if (limits.drafts_max > 0) load.assistant = "tests/testdata/golden/assistant.gguf";
    load.drafts_max = limits.drafts_max;
    load.tiers = limits.tiers;
    model_ =
        std::make_unique<LoadedModel>(LoadModel("tests/testdata/golden/model.gguf", load).value());
    for (const char* name : kAdapters) {
      static std::map<std::string, std::string>* const paths =
          new std::map<std::string, std::string>;
      std::string& path = (*paths)[name];
      if (path.empty()) {
        const auto seed = static_cast<uint32_t>(name[0]);
        path = testing::WriteRandomAdapter(name, model_->config(), 1 + seed % 7, seed);
      }
      EXPECT_OK(model_->adapters->BlockingLoad(name, path));
    }
    EngineOptions options = EngineOptionsFor(*model_);
    options.clock = [this] { return absl::UnixEpoch() + absl::Milliseconds(now_ms); };
    if (!limits.clean_stop) options.disk_flush_timeout = absl::ZeroDuration();
    if (limits.drafts_max > 0) {
      drafter = std::make_unique<testing::GuessingDrafter>(model_->drafter.get(), 9);
    }
    EngineParts parts = PartsOf(*model_);
    parts.drafter = drafter.get();
    if (limits.peers) peers = std::make_unique<testing::FakePeers>(&PageOfDonor);
    parts.peers = peers.get();
    parts.grammar_compiler = Compiler();
    engine = std::make_unique<Engine>(options, parts);
  }

  void Step() {
    engine->RunOneStep();
    model_->cache->pages().CheckInvariants();
    if (model_->host_tier != nullptr) model_->host_tier->slots().CheckInvariants();
  }
  // The disk's loop is the test's too. False: there was nothing to do.
  bool StepDisk() { return model_->disk_tier != nullptr && model_->disk_tier->RunOnce(); }
  DiskTierStats disk_stats() const {
    return model_->disk_tier == nullptr ? DiskTierStats() : model_->disk_tier->stats();
  }
  // On the device and in host memory.
  int pages_in_use() const {
    int pages = 0;
    for (const KvPool pool : {KvPool::kFull, KvPool::kSliding}) {
      pages += model_->cache->pages().in_use_count(pool);
      if (model_->host_tier != nullptr) pages += model_->host_tier->slots().in_use_count(pool);
    }
    return pages;
  }

  int64_t now_ms = 0;
  std::shared_ptr<Results> results;  // shared with the engine's requests

 private:
  std::unique_ptr<LoadedModel> model_;

 public:
  std::unique_ptr<testing::GuessingDrafter> drafter;  // null without
  std::unique_ptr<testing::FakePeers> peers;          // null without
  std::unique_ptr<Engine> engine;
};

// Requests whose prompts begin alike in groups, so that prefixes are shared at every length.
std::vector<v1::GenerateRequest> MakeRequests() {
  std::mt19937 random(40);
  std::vector<v1::GenerateRequest> requests;
  for (int i = 0; i < kRequests; ++i) {
    v1::GenerateRequest request;
    const int shared = static_cast<int>(random() % 200), own = 1 + static_cast<int>(random() % 60);
    const uint32_t group = random() % 3;
    for (int k = 0; k < shared; ++k) request.add_prompt_tokens(150 + (group * 311 + k * 29) % 1700);
    for (int k = 0; k < own; ++k) request.add_prompt_tokens(150 + random() % 1700);
    // Some grow by more than a page, so that pages run out while they run.
    request.set_tokens_max(i % 4 == 3 ? 40 + random() % 60 : 1 + random() % 24);
    if (i % 3 == 0) {
      request.mutable_sampling()->set_temperature(1.0f);
      request.mutable_sampling()->set_top_k(30);
      request.mutable_sampling()->set_seed(random());
    }
    if (i % 5 == 4 && Compiler() != nullptr) {
      request.set_grammar(R"(root ::= "[" word ("," word){20,40} "]"
word ::= "\"" [a-z]{2,5} "\"" | "the" | [0-9]{1,3})");
      request.add_stop_tokens(1);
    }
    // Prompts that begin alike have different adapters and none.
    if (i % 7 == 1 || i % 7 == 4) request.set_adapter(kAdapters[i % 2]);
    requests.push_back(request);
  }
  return requests;
}

// What each request gives with nothing beside it, before it or in the cache.
std::vector<std::vector<uint32_t>> LoneRuns(const std::vector<v1::GenerateRequest>& requests) {
  Stepped lone({1, 512, 64 << 20});
  std::vector<std::vector<uint32_t>> tokens;
  for (size_t i = 0; i < requests.size(); ++i) {
    v1::GenerateRequest request = requests[i];
    request.set_cache_salt(absl::StrCat("lone ", i));
    EXPECT_OK(lone.engine->Submit(request, lone.results, i));
    while (lone.results->by_id[i].finishes == 0) lone.Step();
    EXPECT_EQ(lone.results->by_id[i].ledger.cached_tokens(), 0);
    tokens.push_back(lone.results->by_id[i].tokens);
  }
  return tokens;
}

// A worker that has answered all requests.
Stepped& Donor() {
  static Stepped* const donor = [] {
    auto* const made = new Stepped({64, 512, 64 << 20});
    const std::vector<v1::GenerateRequest> requests = MakeRequests();
    for (size_t i = 0; i < requests.size(); ++i) {
      EXPECT_OK(made->engine->Submit(requests[i], made->results, i));
      while (made->results->by_id[i].finishes == 0) made->Step();
    }
    return made;
  }();
  return *donor;
}

std::string PageOfDonor(const PoolKey& page) {
  std::string contents;
  Donor().engine->ReadPages({page}, [&](std::vector<std::string> read) { contents = read[0]; });
  Donor().engine->RunOneStep();
  return contents;
}

struct Totals {
  int finished = 0, cut = 0;
  int64_t preemptions = 0, device_tokens = 0, host_tokens = 0, disk_tokens = 0;
  int64_t peer_tokens = 0, missed_pages = 0;
  int64_t restored_tokens = 0, disk_faults = 0, drafts_proposed = 0, drafts_accepted = 0;
};

// Does to one file of the disk tier what a bad disk does.
void BreakAFile(const std::string& folder, std::mt19937& random) {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file()) files.push_back(entry.path());
  }
  if (files.empty()) return;
  // The order of a folder is the file system's.
  std::sort(files.begin(), files.end());
  const std::filesystem::path path = files[random() % files.size()];
  const auto bytes = static_cast<int64_t>(std::filesystem::file_size(path));
  if (random() % 2 == 0) {
    std::filesystem::resize_file(path, random() % (bytes + 100));
  } else if (bytes > 0) {
    const auto at = static_cast<int64_t>(random() % bytes);
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(at);
    const int byte = file.get();
    file.seekp(at);
    file.put(static_cast<char>(byte ^ (1 << (random() % 8))));
  }
}

// Plays one schedule on a worker that begins with what earlier ones left in the disk tier's folder.
void PlayOneLife(uint32_t seed, const Limits& limits, std::mt19937& random,
                 const std::vector<v1::GenerateRequest>& requests,
                 const std::vector<std::vector<uint32_t>>& lone, Totals& totals) {
  Stepped stepped(limits);
  for (size_t i = 0; i < requests.size() && stepped.drafter != nullptr; ++i) {
    std::vector<int32_t> tokens(requests[i].prompt_tokens().begin(),
                                requests[i].prompt_tokens().end());
    tokens.insert(tokens.end(), lone[i].begin(), lone[i].end());
    stepped.drafter->Tell(tokens);
  }
  const int count = 4 + static_cast<int>(random() % 12);
  std::vector<int> played, resumed;
  int submitted = 0;
  for (int step = 0; submitted < count || stepped.results->finished < count; ++step) {
    ASSERT_LT(step, kStepsMax) << "seed " << seed << " does not end";
    while (submitted < count && random() % 3 == 0) {
      const int which = static_cast<int>(random() % requests.size());
      v1::GenerateRequest request = requests[which];
      if (random() % 8 == 0) request.set_deadline_ms(1 + random() % 30);
      request.set_priority(static_cast<int>(random() % 3) - 1);
      resumed.push_back(random() % 4 == 0 ? static_cast<int>(random() % lone[which].size()) : 0);
      request.mutable_resume_from()->Add(lone[which].begin(), lone[which].begin() + resumed.back());
      const auto pages = static_cast<uint32_t>(RequestPageKeys(request, kPageTokens).size());
      if (stepped.peers != nullptr && pages > 0 && random() % 2 == 0) {
        request.mutable_kv_source()->set_address("donor");
        request.mutable_kv_source()->set_pages(1 + random() % pages);
      }
      ASSERT_OK(stepped.engine->Submit(request, stepped.results, submitted++));
      played.push_back(which);
    }
    if (submitted > 0 && random() % 40 == 0) {
      stepped.engine->Cancel(stepped.results, random() % submitted);
    }
    if (!limits.tiers.disk_folder.empty() && random() % 16 == 0) {
      BreakAFile(limits.tiers.disk_folder, random);
    }
    for (uint32_t i = random() % 4; i > 0; --i) stepped.StepDisk();
    for (uint32_t i = random() % 4; i > 0 && stepped.peers != nullptr; --i) {
      stepped.peers->RunOnce(/*well=*/random() % 16 != 0);
    }
    stepped.Step();
    stepped.now_ms += random() % 3;
  }
  // What is on its way to disk is held in host memory until it is there, or given up.
  stepped.engine.reset();
  EXPECT_EQ(stepped.pages_in_use(), 0) << "seed " << seed << ": pages leaked";
  for (int i = 0; i < count; ++i) {
    const Result& result = stepped.results->by_id[i];
    std::vector<uint32_t> expected(lone[played[i]].begin() + resumed[i], lone[played[i]].end());
    const bool whole = result.finish_reason == v1::FINISH_REASON_LENGTH;
    if (!whole) expected.resize(std::min(expected.size(), result.tokens.size()));
    EXPECT_EQ(result.tokens, expected) << "seed " << seed << " request " << i;
    EXPECT_EQ(result.finishes, 1) << "seed " << seed << " request " << i;
    ++(whole ? totals.finished : totals.cut);
    const v1::Ledger& ledger = result.ledger;
    EXPECT_EQ(ledger.cached_tokens(), ledger.cached_device_tokens() + ledger.cached_host_tokens() +
                                          ledger.cached_disk_tokens() +
                                          ledger.cached_peer_tokens());
    totals.preemptions += ledger.preemptions();
    totals.device_tokens += ledger.cached_device_tokens();
    totals.host_tokens += ledger.cached_host_tokens();
    totals.disk_tokens += ledger.cached_disk_tokens();
    totals.peer_tokens += ledger.cached_peer_tokens();
    totals.restored_tokens += ledger.restored_tokens();
    totals.drafts_proposed += ledger.drafts_proposed();
    totals.drafts_accepted += ledger.drafts_accepted();
  }
  if (stepped.peers != nullptr) totals.missed_pages += stepped.peers->stats().missed;
  const DiskTierStats disk = stepped.disk_stats();
  for (const int64_t count : disk.faults) totals.disk_faults += count;
}

// Plays one schedule: on the device alone, with host memory, or with a disk too, over a restart.
void Play(uint32_t seed, const std::vector<v1::GenerateRequest>& requests,
          const std::vector<std::vector<uint32_t>>& lone, Totals& totals) {
  std::mt19937 random(seed);
  Limits limits = {1 + static_cast<int>(random() % 12), 8 + static_cast<int>(random() % 120), 0,
                   static_cast<int>(random() % 5)};
  // Half of them so tight that running requests are preempted.
  const uint32_t spread_kib = random() % 2 == 0 ? 6000 : 400;
  limits.kv_bytes = int64_t{2500 + static_cast<int>(random() % spread_kib)} << 10;
  const uint32_t kind = random() % 3;
  if (kind > 0) limits.tiers.host_bytes = int64_t{1200 + static_cast<int>(random() % 8000)} << 10;
  limits.peers = kind > 0 && random() % 2 == 0;
  if (kind < 2) {
    PlayOneLife(seed, limits, random, requests, lone, totals);
    return;
  }
  std::string folder = absl::StrCat(::testing::TempDir(), "/engine_property_XXXXXX");
  ASSERT_NE(mkdtemp(folder.data()), nullptr);
  limits.tiers.disk_folder = folder;
  limits.tiers.disk_bytes = int64_t{2000 + static_cast<int>(random() % 20000)} << 10;
  limits.clean_stop = random() % 2 == 0;
  for (int life = 0; life < 2; ++life) {
    PlayOneLife(seed, limits, random, requests, lone, totals);
  }
  std::filesystem::remove_all(folder);
}

TEST(EnginePropertyTest, RandomSchedulesGiveTheTokensOfLoneRuns) {
  const int schedules = FromEnvironment("FACET_SCHEDULES", kSchedulesDefault);
  const int first_seed = FromEnvironment("FACET_SEED", 1);
  std::printf("schedules %d, seeds from %d\n", schedules, first_seed);
  const std::vector<v1::GenerateRequest> requests = MakeRequests();
  const std::vector<std::vector<uint32_t>> lone = LoneRuns(requests);
  Totals totals;
  for (int i = 0; i < schedules && !::testing::Test::HasFailure(); ++i) {
    Play(static_cast<uint32_t>(first_seed + i), requests, lone, totals);
  }
  std::printf(
      "%d finished, %d cut short, %lld preemptions; cached tokens: %lld of the device, %lld of "
      "host memory, %lld of disk, %lld pulled, %lld pages missed; %lld restored; %lld disk faults; "
      "%lld of %lld drafts\n",
      totals.finished, totals.cut, static_cast<long long>(totals.preemptions),
      static_cast<long long>(totals.device_tokens), static_cast<long long>(totals.host_tokens),
      static_cast<long long>(totals.disk_tokens), static_cast<long long>(totals.peer_tokens),
      static_cast<long long>(totals.missed_pages), static_cast<long long>(totals.restored_tokens),
      static_cast<long long>(totals.disk_faults), static_cast<long long>(totals.drafts_accepted),
      static_cast<long long>(totals.drafts_proposed));
  // A schedule that never preempts, cuts or shares would prove little.
  EXPECT_GT(totals.finished, 0);
  EXPECT_GT(totals.cut, 0);
  EXPECT_GT(totals.preemptions, 0);
  EXPECT_GT(totals.device_tokens, 0);
  EXPECT_GT(totals.host_tokens, 0);
  EXPECT_GT(totals.disk_tokens, 0);
  EXPECT_GT(totals.peer_tokens, 0);
  EXPECT_GT(totals.missed_pages, 0);
  EXPECT_GT(totals.disk_faults, 0);
  EXPECT_GT(totals.drafts_accepted, totals.drafts_proposed / 4);
  EXPECT_LT(totals.drafts_accepted, totals.drafts_proposed);
  // A preempted request that finds its pages in host memory is rare.
  if (schedules >= kSchedulesDefault) {
    EXPECT_GT(totals.restored_tokens, 0);
  }
}

}  // namespace
}  // namespace facet
