#include "ops/simulation/simulated_worker.h"

#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/check.h"
#include "kernels/device.h"
#include "worker/engine.h"
#include "worker/host_tier.h"
#include "worker/kv_cache.h"
#include "worker/peer_source.h"
#include "worker/watch_news.h"

namespace facet {
namespace {

// As the engine's: so long after a step that had nothing to run it looks again.
constexpr double kStallIntervalS = 0.01;

// No layer has memory here, only pages have numbers.
TextConfig ConfigOf(const CostTable& costs) {
  TextConfig config = {};
  config.vocab_size = kTokenIds;
  config.context_tokens_max = costs.context_tokens_max;
  config.sliding_window_tokens = costs.sliding_window_tokens;
  return config;
}

KvPlan PlanOf(const CostTable& costs) {
  KvPlan plan;
  plan.full_pages = costs.full_pages;
  plan.sliding_pages = costs.sliding_pages;
  plan.full_page_bytes = costs.full_page_bytes;
  plan.sliding_page_bytes = costs.sliding_page_bytes;
  plan.context_tokens_max = costs.context_tokens_max;
  return plan;
}

}  // namespace

// ------------------------------------------------------------------ what an engine works with

// Computes nothing, in the time that the real one takes. All ids are equally likely, so that each
// answer is another.
class SimulatedWorker::Runner final : public ModelRunner {
 public:
  explicit Runner(SimulatedWorker& worker)
      : worker_(worker), logits_(int64_t{kTokenIds} * worker.costs_.running_requests_max) {
    options_.rows_max = worker.costs_.step_tokens_max;
    options_.output_rows_max = worker.costs_.running_requests_max;
  }
  absl::Span<const float> RunBlocking(const Batch& batch) override {
    std::vector<int> rows(batch.tables.size());
    for (const int32_t sequence : batch.sequence) ++rows[sequence];
    int decode_rows = 0, prefill_tokens = 0;
    int64_t decode_keys = 0, prefill_keys = 0;
    for (int row = 0; row < batch.rows(); ++row) {
      const bool decodes = rows[batch.sequence[row]] == 1;
      ++(decodes ? decode_rows : prefill_tokens);
      (decodes ? decode_keys : prefill_keys) += batch.position[row] + 1;
    }
    const double took_s = worker_.slow_ * worker_.costs_.StepSeconds(decode_rows, decode_keys,
                                                                     prefill_tokens, prefill_keys);
    worker_.ahead_s_ += took_s;
    worker_.busy_s_ += took_s;
    return absl::MakeSpan(logits_).subspan(0, batch.output_rows.size() * kTokenIds);
  }
  const float* output_states() const override { return nullptr; }
  const ModelRunnerOptions& options() const override { return options_; }

 private:
  SimulatedWorker& worker_;
  ModelRunnerOptions options_;
  const std::vector<float> logits_;  // Zeros.
};

// The requests of one router.
class SimulatedWorker::Sink final : public StepSink {
 public:
  Sink(SimulatedWorker& worker, int router) : worker_(worker), router_(router) {}
  void OnStep(std::vector<StepSink::Output> outputs) override {
    for (StepSink::Output& output : outputs) {
      const bool last = output.reply.finish_reason() != v1::FINISH_REASON_UNSPECIFIED;
      worker_.unfinished_ -= last ? 1 : 0;
      worker_.outputs_[router_].push_back({output.stream_id, std::move(output.reply)});
    }
  }

 private:
  SimulatedWorker& worker_;
  const int router_;
};

// Other workers over a network: one pull after the other comes in at the table's rate.
class SimulatedWorker::Peers final : public PeerSource {
 public:
  explicit Peers(SimulatedWorker& worker) : worker_(worker) {}

  void Start(std::function<void()>) override {}
  uint64_t Pull(const std::string& address, std::vector<PageCopy> pages,
                absl::Duration timeout) override {
    const uint64_t pull = ++last_pull_;
    double bytes = 0;
    for (PageCopy& page : pages) {
      page.ok = worker_.listener_.HasPage(address, page.key);
      const bool full = page.key.first == KvPool::kFull;
      if (!page.ok) continue;
      bytes += static_cast<double>(full ? worker_.costs_.full_page_bytes
                                        : worker_.costs_.sliding_page_bytes);
    }
    const double now_s = worker_.events_.now_s() + worker_.ahead_s_;
    const double begin_s = std::max(now_s, free_s_) + worker_.costs_.pull_s;
    double end_s = begin_s + bytes / worker_.costs_.pull_bytes_per_s;
    const double latest_s = now_s + absl::ToDoubleSeconds(timeout);
    if (end_s > latest_s) {
      for (PageCopy& page : pages) page.ok = false;
      bytes = 0;
      end_s = latest_s;
    }
    free_s_ = end_s;
    if (bytes > 0) rate_.Add(bytes, absl::Seconds(end_s - now_s));
    pulls_[pull] = std::move(pages);
    worker_.events_.At(end_s, [this, pull, &worker = worker_, life = worker_.life_] {
      if (worker.life_ != life) return;
      Complete(pull, /*came=*/true);
      worker.Wake();
    });
    return pull;
  }
  void Cancel(uint64_t pull) override { Complete(pull, /*came=*/false); }
  std::vector<PageCopy> TakeCompleted() override { return std::exchange(completed_, {}); }
  void BlockingStop() override {
    while (!pulls_.empty()) Complete(pulls_.begin()->first, /*came=*/false);
  }
  double bytes_per_s() const override { return rate_.per_s(); }
  PeerStats stats() const override { return stats_; }

 private:
  void Complete(uint64_t pull, bool came) {
    const auto found = pulls_.find(pull);
    if (found == pulls_.end()) return;
    for (PageCopy& page : found->second) {
      page.ok = page.ok && came;
      ++(page.ok ? stats_.pages : stats_.missed);
      completed_.push_back(page);
    }
    pulls_.erase(found);
  }

  SimulatedWorker& worker_;
  uint64_t last_pull_ = 0;
  double free_s_ = 0;
  absl::flat_hash_map<uint64_t, std::vector<PageCopy>> pulls_;
  std::vector<PageCopy> completed_;
  MeasuredRate rate_;
  PeerStats stats_;
};

// One life of the worker.
class SimulatedWorker::Model {
 public:
  Model(SimulatedWorker& worker, int routers)
      : runner(worker), cache(MakeCache(worker)), peers(worker) {
    const CostTable& costs = worker.costs_;
    EngineOptions options;
    options.running_requests_max = costs.running_requests_max;
    options.waiting_requests_max = costs.waiting_requests_max;
    options.step_tokens_max = costs.step_tokens_max;
    options.vocab_size = kTokenIds;
    options.context_tokens_max = costs.context_tokens_max;
    options.sliding_window_tokens = costs.sliding_window_tokens;
    options.clock = [&worker] {
      return absl::UnixEpoch() + absl::Seconds(worker.events_.now_s() + worker.ahead_s_);
    };
    options.on_load = [this](const v1::Load& load) { news.PostLoad(load); };
    EngineParts parts;
    parts.runner = &runner;
    parts.cache = &cache;
    if (costs.host_tier_bytes > 0) {
      auto made = HostTier::Make(PlanOf(costs), costs.sliding_window_tokens, costs.host_tier_bytes);
      CHECK_OK(made);
      host_tier = *std::move(made);
      host_tier->slots().SetObserver(Observer(PageTier::kHost));
      parts.host_tier = host_tier.get();
      parts.peers = &peers;
    }
    cache.pages().SetObserver(Observer(PageTier::kDevice));
    for (int router = 0; router < routers; ++router) {
      sinks.push_back(std::make_shared<Sink>(worker, router));
    }
    engine = std::make_unique<Engine>(options, parts);
  }

  Runner runner;
  KvCache cache;
  std::unique_ptr<HostTier> host_tier;  // Null: nothing is pulled.
  Peers peers;
  WatchNews news;
  std::vector<std::shared_ptr<Sink>> sinks;  // By router; shared with the engine.
  std::unique_ptr<Engine> engine;            // Ends first.

 private:
  static KvCache MakeCache(SimulatedWorker& worker) {
    absl::StatusOr<KvCache> made =
        KvCache::Make(ConfigOf(worker.costs_), PlanOf(worker.costs_), worker.device_);
    CHECK_OK(made);
    return *std::move(made);
  }
  PrefixCache::Observer Observer(PageTier tier) {
    return [this, tier](KvPool pool, const PageKey& key, bool stored) {
      news.PostPage({key, pool == KvPool::kSliding, tier, stored});
    };
  }
};

// ------------------------------------------------------------------ the worker

SimulatedWorker::SimulatedWorker(int index, int routers, const CostTable& costs, EventQueue& events,
                                 Device& device, Listener& listener)
    : index_(index),
      costs_(costs),
      events_(events),
      device_(device),
      listener_(listener),
      outputs_(routers) {
  Return();
}

SimulatedWorker::~SimulatedWorker() { Die(); }

std::string SimulatedWorker::AddressOf(int index) { return absl::StrCat("worker-", index); }

absl::Status SimulatedWorker::Start(int router, uint64_t stream_id,
                                    const v1::GenerateRequest& request) {
  if (!alive()) return absl::OkStatus();
  const absl::Status submitted =
      engine_->engine->Submit(request, engine_->sinks[router], stream_id);
  if (!submitted.ok()) return submitted;
  ++unfinished_;
  Wake();
  return absl::OkStatus();
}

void SimulatedWorker::Cancel(int router, uint64_t stream_id) {
  if (!alive()) return;
  engine_->engine->Cancel(engine_->sinks[router], stream_id);
  Wake();
}

void SimulatedWorker::Die() {
  ++life_;
  engine_ = nullptr;
  for (std::vector<Output>& outputs : outputs_) outputs.clear();
  unfinished_ = 0;
  ahead_s_ = 0;
}

void SimulatedWorker::Return() {
  if (alive()) return;
  ++life_;
  stepping_ = wake_planned_ = news_pause_ = false;
  engine_ = std::make_unique<Model>(*this, static_cast<int>(outputs_.size()));
  Wake();
}

void SimulatedWorker::CachePrefix(absl::Span<const PageKey> keys) {
  PrefixCache& pages = engine_->cache.pages();
  std::vector<std::pair<KvPool, int32_t>> held;
  for (const KvPool pool : {KvPool::kFull, KvPool::kSliding}) {
    for (size_t i = 0; i < keys.size(); ++i) {
      if (pages.Lookup(pool, keys[i]) != PrefixCache::kNone) continue;
      CHECK_GT(pages.available(pool), 0);
      held.emplace_back(pool, pages.Publish(pool, pages.Take(pool), keys[i], static_cast<int>(i)));
    }
  }
  pages.MarkResumePoint(keys, static_cast<int>(keys.size()));
  for (const auto& [pool, page] : held) pages.Release(pool, page);
}

bool SimulatedWorker::HasPage(const PoolKey& page) const {
  if (!alive()) return false;
  if (engine_->cache.pages().Lookup(page.first, page.second) != PrefixCache::kNone) return true;
  return engine_->host_tier != nullptr &&
         engine_->host_tier->slots().Lookup(page.first, page.second) != PrefixCache::kNone;
}

void SimulatedWorker::Wake() {
  if (stepping_ || wake_planned_) return;
  wake_planned_ = true;
  events_.At(events_.now_s(), [this, life = life_] {
    if (life != life_) return;
    wake_planned_ = false;
    if (!stepping_) Step();
  });
}

// All that the engine does in a step happens now, but is heard of when the step is over.
void SimulatedWorker::Step() {
  stepping_ = true;
  engine_->engine->RunOneStep();
  const double took_s = std::exchange(ahead_s_, 0);
  events_.At(events_.now_s() + took_s, [this, took_s, life = life_] {
    if (life == life_) EndStep(/*stalled=*/took_s == 0);
  });
}

void SimulatedWorker::EndStep(bool stalled) {
  stepping_ = false;
  for (int router = 0; router < static_cast<int>(outputs_.size()); ++router) {
    if (outputs_[router].empty()) continue;
    listener_.OnOutputs(index_, router, std::exchange(outputs_[router], {}));
  }
  TellNews();
  if (unfinished_ == 0) return;
  if (!stalled) return Wake();
  events_.At(events_.now_s() + kStallIntervalS, [this, life = life_] {
    if (life == life_) Wake();
  });
}

void SimulatedWorker::TellNews() {
  // In a step there may be news of its end.
  if (news_pause_ || stepping_ || !engine_->news.any()) return;
  listener_.OnNews(index_, engine_->news.load(), engine_->news.Take());
  news_pause_ = true;
  events_.At(events_.now_s() + absl::ToDoubleSeconds(kNewsInterval), [this, life = life_] {
    if (life != life_) return;
    news_pause_ = false;
    TellNews();
  });
}

}  // namespace facet
