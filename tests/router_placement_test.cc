#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "proto/page_event.h"
#include "proto/request_keys.h"
#include "tests/router_fixture.h"

namespace facet::testing {
namespace {

namespace json = boost::json;
using ::testing::HasSubstr;

constexpr int kPageTokens = 64;
constexpr char kPath[] = "/v1/chat/completions";

// A chat of several pages, which begins as no other does.
std::string LongChat(int number, absl::string_view fields = "") {
  const std::string text(300, static_cast<char>('a' + number % 26));
  return absl::StrCat(R"({"messages":[{"role":"user","content":")", number, " ", text, "\"}]",
                      fields, "}");
}

// Where requests go, over a whole router.
class RouterPlacementTest : public RouterTest {
 protected:
  // Workers that compute 1,000 tokens a second, of which a row of a step takes nothing.
  void StartMeasured(int workers) {
    options_.worker.watch_again_ms_min = 0;
    StartAll(workers);
    v1::Load load;
    load.set_prefill_tokens_per_s(1000);
    load.set_decode_step_s(0.01);
    for (const auto& worker : workers_) worker->SetLoad(load);
    AwaitDebug([](const json::value& debug) {
      for (const json::value& worker : debug.at("workers").as_array()) {
        if (worker.at("prefill_tokens_per_s").to_number<double>() != 1000) return false;
      }
      return true;
    });
  }

  template <typename Condition>
  void AwaitDebug(const Condition& condition) {
    while (!condition(Get("/debug/workers").Json())) std::this_thread::yield();
  }
  void AwaitPages(int64_t count) {
    AwaitDebug([&](const json::value& debug) { return debug.at("cached_pages") == count; });
  }

  // What a debug page says of a worker.
  const json::value& EntryOf(const json::value& page, int worker) const {
    const json::array& workers = page.at("workers").as_array();
    return *absl::c_find_if(workers, [&](const json::value& entry) {
      return entry.at("worker") == workers_[worker]->address().c_str();
    });
  }
  int IndexOf(const std::string& address) const {
    for (size_t i = 0; i < workers_.size(); ++i) {
      if (workers_[i]->address() == address) return static_cast<int>(i);
    }
    return -1;
  }
  int WorkerOf(const Response& response) const {
    EXPECT_EQ(response.status, 200) << response.body;
    return IndexOf(response.headers.at("x-facet-worker"));
  }

  // What a worker that computed this request would tell.
  static std::vector<PageEvent> PagesOf(const v1::GenerateRequest& request, bool stored = true) {
    std::vector<PageEvent> events;
    for (const PageKey& key : RequestPageKeys(request, kPageTokens)) {
      for (const bool sliding : {false, true}) {
        events.push_back({.key = key, .sliding = sliding, .stored = stored});
      }
    }
    return events;
  }
};

// Given pages of a prompt at one worker, expect the prompt there, its tail alone counted as work,
// and the headers, the debug endpoint and the metrics to say so; once they are gone, elsewhere too.
TEST_F(RouterPlacementTest, GoesWhereThePagesAre) {
  StartMeasured(3);
  const int first = WorkerOf(Post(kPath, LongChat(0)));
  const v1::GenerateRequest request = workers_[first]->requests().back();
  const int tokens = request.prompt_tokens_size();
  const int pages = tokens / kPageTokens;
  ASSERT_GE(pages, 4);
  const int owner = (first + 1) % 3;
  workers_[owner]->TellPages(PagesOf(request));
  AwaitPages(pages);

  const Response response = Post(kPath, LongChat(0));
  EXPECT_EQ(WorkerOf(response), owner);
  const std::string cached = absl::StrCat("cached=", pages * kPageTokens,
                                          " computed=", tokens - pages * kPageTokens, " queued=0");
  EXPECT_THAT(response.headers.at("x-facet-placement"), HasSubstr(cached));
  EXPECT_THAT(Metrics(),
              HasSubstr(absl::StrCat("facet_placed_prompt_tokens_total{cached=\"true\"} ",
                                     pages * kPageTokens)));
  const Response stream = Post(kPath, LongChat(0, R"(,"stream":true)"));
  EXPECT_EQ(WorkerOf(stream), owner);
  EXPECT_THAT(stream.headers.at("x-facet-placement"), HasSubstr(cached));

  const json::value explained = Post("/debug/placement", LongChat(0)).Json();
  EXPECT_EQ(explained.at("chosen"), workers_[owner]->address().c_str());
  EXPECT_EQ(explained.at("prompt_tokens"), tokens);
  EXPECT_EQ(EntryOf(explained, owner).at("cached_tokens"), pages * kPageTokens);
  EXPECT_EQ(EntryOf(explained, first).at("computed_tokens"), tokens);

  workers_[owner]->TellPages(PagesOf(request, /*stored=*/false));
  AwaitPages(0);
  EXPECT_EQ(WorkerOf(Post(kPath, LongChat(0))), first);
}

// Given pages at a worker that is busy, expect the prompt at another, told to pull them from there,
// and headers, debug endpoint and metrics to say so.
TEST_F(RouterPlacementTest, PullsFromABusyOwner) {
  page_bytes_ = 1000;
  StartMeasured(2);
  const int first = WorkerOf(Post(kPath, LongChat(5)));
  const v1::GenerateRequest request = workers_[first]->requests().back();
  EXPECT_FALSE(request.has_kv_source());
  const int tokens = request.prompt_tokens_size();
  const int pages = tokens / kPageTokens;
  const int owner = 1 - first;
  workers_[owner]->TellPages(PagesOf(request));
  AwaitPages(pages);
  EXPECT_EQ(WorkerOf(Post(kPath, LongChat(5))), owner);
  v1::Load load;
  load.set_prefill_tokens_per_s(1000);
  load.set_decode_step_s(0.01);
  load.set_prefill_tokens_waiting(5000);
  workers_[owner]->SetLoad(load);
  AwaitDebug([&](const json::value& debug) {
    return EntryOf(debug, owner).at("prefill_tokens_waiting") == 5000;
  });
  const json::value explained = Post("/debug/placement", LongChat(5)).Json();
  EXPECT_EQ(EntryOf(explained, first).at("pulled_tokens"), pages * kPageTokens);
  EXPECT_EQ(EntryOf(explained, first).at("pulled_from"), workers_[owner]->address().c_str());
  const Response response = Post(kPath, LongChat(5));
  EXPECT_EQ(WorkerOf(response), first);
  EXPECT_THAT(response.headers.at("x-facet-placement"),
              HasSubstr(absl::StrCat("cached=0 pulled=", pages * kPageTokens,
                                     " from=", workers_[owner]->address())));
  const v1::KvSource source = workers_[first]->requests().back().kv_source();
  EXPECT_EQ(source.address(), workers_[owner]->address());
  EXPECT_EQ(source.pages(), pages);
  EXPECT_THAT(Metrics(),
              HasSubstr(absl::StrCat("facet_placed_prompt_tokens_total{cached=\"elsewhere\"} ",
                                     pages * kPageTokens)));
}

// Given a worker that dies, expect its pages forgotten; given that it comes back with them, known
// again.
TEST_F(RouterPlacementTest, PagesGoAndComeWithTheirWorker) {
  StartMeasured(2);
  const int first = WorkerOf(Post(kPath, LongChat(1)));
  const std::vector<PageEvent> pages = PagesOf(workers_[first]->requests().back());
  const auto count = static_cast<int64_t>(pages.size() / 2);
  workers_[1]->TellPages(pages);
  AwaitPages(count);
  const std::string address = workers_[1]->address();
  workers_[1]->Kill();
  AwaitPages(0);
  workers_[1] = StartWorker("small", address);
  workers_[1]->TellPages(pages);
  AwaitPages(count);
}

// Given news that were lost, expect the router to ask for all of them anew, and the streams of that
// worker to go on.
TEST_F(RouterPlacementTest, GapInTheNewsIsMended) {
  StartMeasured(1);
  workers_[0]->HoldAfter(2);
  Client streaming = Connect();
  streaming.Write(Client::RequestText("POST", kPath, LongChat(2, R"(,"stream":true)")));
  EXPECT_EQ(streaming.ReadHeader().status, 200);
  std::string body = streaming.ReadChunk();
  const std::vector<PageEvent> pages = PagesOf(workers_[0]->requests().back());
  const auto count = static_cast<int64_t>(pages.size() / 2);
  workers_[0]->TellPages(pages);
  AwaitPages(count);

  workers_[0]->LoseNews();
  AwaitMetric(absl::StrCat("facet_watch_gaps_total{worker=\"", workers_[0]->address(), "\"} 1\n"));
  AwaitPages(count);
  while (workers_[0]->watches_begun() < 2) std::this_thread::yield();
  workers_[0]->Release();
  for (std::string chunk = streaming.ReadChunk(); !chunk.empty(); chunk = streaming.ReadChunk()) {
    body += chunk;
  }
  EXPECT_EQ(Content(Events(body)), kAnswer);
  EXPECT_EQ(workers_[0]->started(), 1);
}

// Given a worker whose news are never whole, expect it to count as lost.
TEST_F(RouterPlacementTest, GapsOneAfterTheOtherLoseTheWorker) {
  StartMeasured(1);
  const std::string address = workers_[0]->address();
  options_.worker.watch_again_ms_min = 3'600'000;
  router_ = nullptr;
  StartRouter({address});
  AwaitWorker(address, true);
  const int before = workers_[0]->watches_begun();
  ::testing::internal::CaptureStderr();
  workers_[0]->LoseNews();
  while (workers_[0]->watches_begun() == before) std::this_thread::yield();
  AwaitWorker(address, true);
  EXPECT_THAT(::testing::internal::GetCapturedStderr(), HasSubstr("worker lost"));
  EXPECT_EQ(Chat().status, 200);
}

// Given equal prompts at the same time, expect all to go where the first is computed, for the work
// is there already.
TEST_F(RouterPlacementTest, EqualPromptsGoTogether) {
  StartMeasured(3);
  for (const auto& worker : workers_) worker->HoldAfter(0);
  std::vector<std::unique_ptr<Client>> clients;
  for (int i = 0; i < 4; ++i) {
    clients.push_back(std::make_unique<Client>(router_->http_port()));
    clients.back()->Write(Client::RequestText("POST", kPath, LongChat(3)));
    while (workers_[0]->started() + workers_[1]->started() + workers_[2]->started() <= i) {
      std::this_thread::yield();
    }
  }
  std::vector<int> started;
  for (const auto& worker : workers_) started.push_back(worker->started());
  EXPECT_THAT(started, ::testing::UnorderedElementsAre(0, 0, 4));
  for (const auto& worker : workers_) worker->Release();
  for (const auto& client : clients) EXPECT_EQ(client->ReadResponse().status, 200);
}

// Given two routers and workers that are equal, expect both to choose the same one for each prompt,
// and prompts to spread.
TEST_F(RouterPlacementTest, RoutersAgree) {
  StartMeasured(3);
  std::vector<int> chosen;
  for (int i = 0; i < 12; ++i) chosen.push_back(WorkerOf(Post(kPath, LongChat(i))));
  EXPECT_GT(std::set<int>(chosen.begin(), chosen.end()).size(), 1u);
  router_ = nullptr;
  StartRouter({workers_[2]->address(), workers_[0]->address(), workers_[1]->address()});
  for (const auto& worker : workers_) AwaitWorker(worker->address(), true);
  for (int i = 0; i < 12; ++i) EXPECT_EQ(WorkerOf(Post(kPath, LongChat(i))), chosen[i]);
}

// Given headers switched off, expect none; and of the debug endpoint that it says what is wrong.
TEST_F(RouterPlacementTest, SaysNoMoreThanItShould) {
  options_.api.placement_headers = false;
  StartAll(1);
  EXPECT_EQ(Chat().headers.count("x-facet-worker"), 0u);
  const Response bad = Post("/debug/placement", R"({"messages":[]})");
  EXPECT_EQ(bad.status, 400);
  EXPECT_EQ(bad.Json().at("error").at("param"), "messages");
  EXPECT_EQ(Post("/debug/placement", R"({"prompt":"abc"})").Json().at("prompt_pages"), 0);
  workers_[0]->SetDraining(true);
  AwaitDebug(
      [this](const json::value& debug) { return EntryOf(debug, 0).at("draining").as_bool(); });
  const json::value nowhere = Post("/debug/placement", R"({"prompt":"abc"})").Json();
  EXPECT_TRUE(nowhere.at("chosen").is_null());
  EXPECT_THAT(std::string(nowhere.at("reason").as_string()), HasSubstr("No worker is ready"));
}

}  // namespace
}  // namespace facet::testing
