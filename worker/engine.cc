#include "worker/engine.h"

#include <algorithm>
#include <map>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "proto/request_keys.h"
#include "worker/sampler.h"

namespace facet {

// One request on its way. computed_len <= tokens.size(); the tokens past it are still to run, and
// after them, if only one is left, the drafts.
struct Engine::Sequence {
  v1::GenerateRequest request;
  std::shared_ptr<StepSink> sink;
  uint64_t stream_id = 0;
  std::shared_ptr<const Adapter> adapter;  // shared with the registry, until both let go; or null

  std::vector<int32_t> tokens;  // prompt, then generated
  int prompt_count = 0;
  int computed_len = 0;
  std::vector<MediaItem> media;   // of the prompt; their bytes are the request's
  std::vector<TokenSpan> images;  // of these
  std::vector<MediaSpan> digests;
  std::vector<bool> media_asked;       // of each of `media`, whether its data were asked for
  std::vector<uint32_t> media_to_ask;  // in the step that runs
  std::vector<int32_t> drafts;         // guesses at what follows `tokens`
  // With a grammar: first it is compiled, shared with the queue; then it follows `tokens`.
  std::shared_ptr<PendingGrammar> pending_grammar;
  std::unique_ptr<GrammarMatcher> grammar;
  std::vector<uint32_t> masks;  // of this step's output rows
  bool ended = false;
  PageTables pages;
  int sliding_first = 0;      // logical sliding pages below this one are given back
  std::vector<PageKey> keys;  // of the prompt's whole pages, and of those generated and published
  PageKey root_key;
  int published_pages = 0;
  int cached_len_seen = 0;  // while it waits: of its prompt, when it was looked at last
  int branch_pages = 0;  // where it leaves what others computed; 0 if its cached prefix goes so far
  bool fetch_considered = false;  // whether its pages on disk and elsewhere were looked at
  uint64_t fetch_ticket = 0;      // of what is fetched for it; 0: nothing
  TierTokens cached;              // of the prompt, when it first ran
  int scored_len = 0;             // prompt rows whose log probabilities are in `reply`
  int restored_tokens = 0;        // after preemptions, by copy

  absl::Time arrival, first_run = absl::InfiniteFuture(), first_token = absl::InfiniteFuture();
  absl::Time told_at = absl::InfinitePast();  // when observers heard of its tokens last
  absl::Time deadline = absl::InfiniteFuture();
  int preemptions = 0;
  DraftAcceptance acceptance;
  int drafts_proposed = 0, drafts_accepted = 0;
  v1::GenerateReply reply;  // of the step that runs

  // Whether rows of the prompt are output rows: those that say how likely the next token is.
  bool scores_prompt() const {
    return request.has_prompt_logprobs() && scored_len < prompt_count - 1;
  }
  int generated_count() const { return static_cast<int>(tokens.size()) - prompt_count; }
};

namespace {

// How many of those that wait are looked at for one step: more are not admitted at once.
constexpr size_t kAdmissionsMax = 16;
// Tokens and alternatives in what one request's prompt_logprobs give: some 3 MB of a message.
constexpr int64_t kPromptLogprobsMax = 1 << 18;
constexpr double kRateSmoothing = 0.1;  // weight of the newest step in tokens_per_s_
// What one step hands to the disk's queue: 2 to 3 ms of copying. One page may be larger.
constexpr int64_t kWriteBehindBytes = int64_t{16} << 20;
// What a step spends on copies for other workers: little beside what it computes, or so long that
// an idle worker gives as fast as others take. One page may take longer.
constexpr double kServingShare = 0.1;
constexpr absl::Duration kServingTimeMin = absl::Milliseconds(5);
// How long a step that had nothing to run waits for pages; deadlines are seen to as often.
constexpr absl::Duration kStallInterval = absl::Milliseconds(10);
constexpr size_t kAddressBytesMax = 256;
// How many ids that a mask allows may be refused by the grammar before the exact mask is computed.
constexpr int kRefusalsMax = 32;

absl::Status CheckIds(absl::string_view field, const google::protobuf::RepeatedField<uint32_t>& ids,
                      int vocab_size) {
  for (int i = 0; i < ids.size(); ++i) {
    if (ids[i] < static_cast<uint32_t>(vocab_size)) continue;
    return absl::InvalidArgumentError(
        absl::StrCat(field, "[", i, "] is ", ids[i], ", the vocabulary has ", vocab_size));
  }
  return absl::OkStatus();
}

// Those that a request brings must be the first of the prompt's own.
absl::Status CheckPageKeys(const v1::GenerateRequest& request, absl::Span<const PageKey> keys) {
  for (int i = 0; i < request.page_keys_size(); ++i) {
    if (static_cast<size_t>(i) >= keys.size()) {
      return absl::InvalidArgumentError(absl::StrCat("page_keys has ", request.page_keys_size(),
                                                     " keys, the prompt has ", keys.size(),
                                                     " whole pages"));
    }
    const absl::string_view own(reinterpret_cast<const char*>(keys[i].data()), keys[i].size());
    if (request.page_keys(i) != own) {
      return absl::InvalidArgumentError(
          absl::StrCat("page_keys[", i, "] is not the key of that page"));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckSource(const v1::GenerateRequest& request) {
  const v1::KvSource& source = request.kv_source();
  if (!request.has_kv_source() || (source.address().empty() && source.pages() == 0)) {
    return absl::OkStatus();
  }
  if (source.address().empty() || source.address().size() > kAddressBytesMax) {
    return absl::InvalidArgumentError(absl::StrCat("kv_source.address has ",
                                                   source.address().size(),
                                                   " characters, not 1 to ", kAddressBytesMax));
  }
  const int pages = (request.prompt_tokens_size() + request.resume_from_size()) / kPageTokens;
  if (source.pages() < 1 || source.pages() > static_cast<uint32_t>(pages)) {
    return absl::InvalidArgumentError(absl::StrCat("kv_source.pages is ", source.pages(),
                                                   ", the prompt has ", pages, " whole pages"));
  }
  return absl::OkStatus();
}

// How likely `id` was, and the best `top_count`, by logits as the model gave them.
void AddLogprobs(absl::Span<const float> logits, int32_t id, uint32_t top_count,
                 v1::TokenLogprobs* reply) {
  const Logprobs logprobs(logits);
  reply->set_logprob(logprobs.Of(id));
  for (const TokenLogprob& top : logprobs.Top(static_cast<int>(top_count))) {
    reply->add_top_ids(static_cast<uint32_t>(top.id));
    reply->add_top_logprobs(top.logprob);
  }
}

uint64_t Microseconds(absl::Duration duration) {
  return static_cast<uint64_t>(std::max<int64_t>(0, absl::ToInt64Microseconds(duration)));
}

}  // namespace

Engine::Engine(const EngineOptions& options, const EngineParts& parts)
    : options_(options),
      runner_(*parts.runner),
      cache_(*parts.cache),
      drafter_(parts.drafter),
      tiers_(parts.cache, parts.host_tier, parts.disk_tier, parts.peers, options.clock),
      adapters_(parts.adapters),
      observers_(parts.observers),
      mask_words_((options.vocab_size + 31) / 32),
      grammar_masks_(mask_words_) {
  CHECK_GE(runner_.options().rows_max, options_.step_tokens_max);
  CHECK_GE(runner_.options().output_rows_max, options_.running_requests_max);
  CHECK_LE(options_.context_tokens_max, cache_.plan().context_tokens_max);
  CHECK_GT(options_.vocab_size, 0);
  CHECK(drafter_ == nullptr || drafter_->options().rows_max >= options_.running_requests_max);
  if (parts.grammar_compiler == nullptr) return;
  CHECK_GE(mask_words_, parts.grammar_compiler->mask_words());
  grammars_ = std::make_unique<GrammarQueue>(parts.grammar_compiler, [this] { OnHelperDone(); });
}

Engine::~Engine() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  if (thread_.joinable()) thread_.join();
  grammars_ = nullptr;
  tiers_.BlockingStop(options_.disk_flush_timeout);
  TakeInbox();
  for (PageQuery& query : serving_) {
    query.contents.resize(query.pages.size());
    query.done(std::move(query.contents));
  }
}

void Engine::Start() {
  tiers_.Start([this] { OnHelperDone(); });
  thread_ = std::thread([this] { Loop(); });
}

void Engine::OnHelperDone() {
  absl::MutexLock lock(&mutex_);
  helpers_have_work_ = true;
}

absl::Status Engine::Validate(const v1::GenerateRequest& request) const {
  if (request.prompt_tokens().empty()) {
    return absl::InvalidArgumentError("prompt_tokens is empty");
  }
  if (request.prompt_tokens_size() >= options_.context_tokens_max) {
    return absl::InvalidArgumentError(
        absl::StrCat("prompt_tokens has ", request.prompt_tokens_size(),
                     " ids, which leaves no room in a context of ", options_.context_tokens_max));
  }
  if (request.tokens_max() == 0) return absl::InvalidArgumentError("tokens_max is 0");
  const int resumed = request.resume_from_size();
  if (static_cast<uint32_t>(resumed) >= request.tokens_max() ||
      resumed >= options_.context_tokens_max - request.prompt_tokens_size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("resume_from has ", resumed, " ids, which leaves nothing of tokens_max ",
                     request.tokens_max(), " in a context of ", options_.context_tokens_max));
  }
  RETURN_IF_ERROR(CheckIds("prompt_tokens", request.prompt_tokens(), options_.vocab_size));
  RETURN_IF_ERROR(CheckIds("stop_tokens", request.stop_tokens(), options_.vocab_size));
  RETURN_IF_ERROR(CheckIds("resume_from", request.resume_from(), options_.vocab_size));
  for (const uint32_t id : request.resume_from()) {
    if (absl::c_linear_search(request.stop_tokens(), id)) {
      return absl::InvalidArgumentError(
          absl::StrCat("resume_from holds the stop token ", id, ": the answer has ended"));
    }
  }
  if (request.prompt_logprobs() > kTopLogprobsMax) {
    return absl::InvalidArgumentError(absl::StrCat("prompt_logprobs is ", request.prompt_logprobs(),
                                                   ", the most is ", kTopLogprobsMax));
  }
  if (request.has_prompt_logprobs() &&
      request.prompt_tokens_size() * (int64_t{1} + request.prompt_logprobs()) >
          kPromptLogprobsMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("prompt_logprobs of ", request.prompt_tokens_size(), " tokens with ",
                     request.prompt_logprobs(), " alternatives are too many; the most is ",
                     kPromptLogprobsMax, " in all"));
  }
  if (request.has_prompt_logprobs() && request.media_size() + resumed > 0) {
    return absl::InvalidArgumentError("prompt_logprobs goes with neither media nor resume_from");
  }
  if (!request.grammar().empty() && grammars_ == nullptr) {
    return absl::InvalidArgumentError("grammar: this worker has no structured output");
  }
  if (!request.grammar().empty() && request.stop_tokens().empty()) {
    return absl::InvalidArgumentError("stop_tokens is empty, so no answer of the grammar can end");
  }
  RETURN_IF_ERROR(CheckSource(request));
  RETURN_IF_ERROR(CheckMedia(request.media(), request.prompt_tokens_size(), options_.media));
  return ValidateSampling(request.sampling(), options_.vocab_size);
}

absl::StatusOr<std::shared_ptr<const Adapter>> Engine::AdapterOf(
    const v1::GenerateRequest& request) const {
  std::shared_ptr<const Adapter> adapter;
  if (!request.adapter().empty()) {
    if (adapters_ != nullptr) adapter = adapters_->Find(request.adapter());
    if (adapter == nullptr) {
      return absl::InvalidArgumentError(
          absl::StrCat("adapter '", request.adapter(), "' is not known to this worker"));
    }
  }
  if (!request.adapter_digest().empty() &&
      (adapter == nullptr || request.adapter_digest() != adapter->digest)) {
    return absl::InvalidArgumentError(absl::StrCat("adapter_digest is not that of adapter '",
                                                   request.adapter(), "' at this worker"));
  }
  return adapter;
}

absl::Status Engine::Submit(const v1::GenerateRequest& request, std::shared_ptr<StepSink> sink,
                            uint64_t stream_id) {
  RETURN_IF_ERROR(Validate(request));
  auto sequence = std::make_unique<Sequence>();
  ASSIGN_OR_RETURN(sequence->adapter, AdapterOf(request));
  sequence->request = request;
  sequence->sink = std::move(sink);
  sequence->stream_id = stream_id;
  sequence->tokens.assign(request.prompt_tokens().begin(), request.prompt_tokens().end());
  sequence->prompt_count = request.prompt_tokens_size();
  sequence->tokens.insert(sequence->tokens.end(), request.resume_from().begin(),
                          request.resume_from().end());
  // Hashed here, on the caller's thread, to keep it off the engine's.
  for (const v1::Media& media : sequence->request.media()) {
    const MediaItem& item = sequence->media.emplace_back(MediaItemOf(media));
    if (item.image) sequence->images.push_back({item.first_token, item.end()});
    sequence->digests.push_back({item.first_token, item.tokens, DigestOf(media)});
  }
  sequence->media_asked.resize(sequence->media.size());
  sequence->root_key = RootPageKey(request.cache_salt(),
                                   sequence->adapter == nullptr ? "" : sequence->adapter->digest);
  sequence->keys = PageKeysOf(sequence->root_key, sequence->tokens, kPageTokens, sequence->digests);
  RETURN_IF_ERROR(CheckPageKeys(
      request, absl::MakeSpan(sequence->keys).subspan(0, sequence->prompt_count / kPageTokens)));
  sequence->arrival = options_.clock();
  if (request.deadline_ms() != 0) {
    sequence->deadline = sequence->arrival + absl::Milliseconds(request.deadline_ms());
  }
  absl::MutexLock lock(&mutex_);
  if (draining_ || stopping_) return absl::UnavailableError("this worker is stopping");
  if (waiting_count_ >= options_.waiting_requests_max) {
    return absl::ResourceExhaustedError(
        absl::StrCat(waiting_count_, " requests wait already, the most this worker holds"));
  }
  if (!sequence->request.grammar().empty()) {
    const v1::GenerateRequest& taken = sequence->request;
    sequence->pending_grammar =
        grammars_->Add(taken.grammar(), {taken.stop_tokens().begin(), taken.stop_tokens().end()},
                       {taken.resume_from().begin(), taken.resume_from().end()});
  }
  ++waiting_count_;
  ++unfinished_;
  arrivals_.push_back(std::move(sequence));
  return absl::OkStatus();
}

void Engine::AddMedia(std::shared_ptr<const StepSink> sink, uint64_t stream_id, int index,
                      absl::StatusOr<std::string> data) {
  absl::MutexLock lock(&mutex_);
  media_arrivals_.push_back({std::move(sink), stream_id, index, std::move(data)});
}

void Engine::Cancel(std::shared_ptr<const StepSink> sink, uint64_t stream_id) {
  absl::MutexLock lock(&mutex_);
  cancellations_.push_back({std::move(sink), stream_id, /*all=*/false});
}

void Engine::CancelAll(std::shared_ptr<const StepSink> sink) {
  absl::MutexLock lock(&mutex_);
  cancellations_.push_back({std::move(sink), 0, /*all=*/true});
}

void Engine::ReadPages(std::vector<PoolKey> pages, PagesDone done) {
  absl::MutexLock lock(&mutex_);
  page_queries_.push_back({std::move(pages), std::move(done)});
}

void Engine::Drain() {
  absl::MutexLock lock(&mutex_);
  draining_ = true;
}

bool Engine::BlockingWaitIdle(absl::Duration timeout) {
  const auto idle = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return unfinished_ == 0; };
  absl::MutexLock lock(&mutex_);
  return mutex_.AwaitWithTimeout(absl::Condition(&idle), timeout);
}

void Engine::Loop() {
  PublishLoad();
  while (WaitForWork()) RunOneStep();
  for (auto* queue : {&running_, &waiting_}) {
    for (auto& sequence : *queue) Finish(*sequence, v1::FINISH_REASON_CANCELLED);
  }
  Deliver();
}

void Engine::RunOneStep() {
  TakeInbox();
  step_begin_ = options_.clock();
  tiers_.TakeCompleted();
  ServePages();
  EndCancelledAndLate();
  SortWaiting();
  Step();
  Deliver();
  PublishLoad();
  if (!tiers_.WriteBehind(kWriteBehindBytes)) return;
  absl::MutexLock lock(&mutex_);
  helpers_have_work_ = true;
}

bool Engine::HasWork() const {
  return stopping_ || helpers_have_work_ || !arrivals_.empty() || !cancellations_.empty() ||
         !media_arrivals_.empty() || !page_queries_.empty() ||
         (!stalled_ && (!running_.empty() || !waiting_.empty())) || draining_ != announced_drain_;
}

bool Engine::WaitForWork() {
  absl::MutexLock lock(&mutex_);
  const absl::Duration timeout = stalled_ ? kStallInterval : absl::InfiniteDuration();
  mutex_.AwaitWithTimeout(absl::Condition(this, &Engine::HasWork), timeout);
  helpers_have_work_ = false;
  return !stopping_;
}

void Engine::TakeInbox() {
  std::vector<MediaArrival> media;
  {
    absl::MutexLock lock(&mutex_);
    for (auto& arrival : arrivals_) waiting_.push_back(std::move(arrival));
    arrivals_.clear();
    // Both at once, so that a request is never behind its own cancellation.
    taken_cancellations_ = std::move(cancellations_);
    cancellations_.clear();
    media = std::move(media_arrivals_);
    media_arrivals_.clear();
    for (PageQuery& query : page_queries_) serving_.push_back(std::move(query));
    page_queries_.clear();
  }
  for (MediaArrival& arrival : media) TakeMedia(std::move(arrival));
}

void Engine::TakeMedia(MediaArrival arrival) {
  for (auto* queue : {&running_, &waiting_}) {
    for (auto& sequence : *queue) {
      if (sequence->sink != arrival.sink || sequence->stream_id != arrival.stream_id) continue;
      if (sequence->ended) return;
      if (!arrival.data.ok()) {
        sequence->reply.set_error(std::string(arrival.data.status().message()));
        sequence->reply.set_error_kind(v1::ERROR_KIND_INVALID_ARGUMENT);
        return Finish(*sequence, v1::FINISH_REASON_ERROR);
      }
      MediaItem& item = sequence->media[arrival.index];
      if (!item.data.empty()) return;  // sent twice
      std::string& data = *sequence->request.mutable_media(arrival.index)->mutable_data();
      data = *std::move(arrival.data);
      item.data = data;
      return;
    }
  }
}

void Engine::EndCancelledAndLate() {
  for (auto* queue : {&running_, &waiting_}) {
    for (auto& sequence : *queue) {
      const bool cancelled = std::any_of(
          taken_cancellations_.begin(), taken_cancellations_.end(), [&](const Cancellation& c) {
            return c.sink == sequence->sink && (c.all || c.stream_id == sequence->stream_id);
          });
      if (sequence->ended) continue;
      if (cancelled) {
        Finish(*sequence, v1::FINISH_REASON_CANCELLED);
      } else if (step_begin_ >= sequence->deadline) {
        Finish(*sequence, v1::FINISH_REASON_DEADLINE);
      }
    }
  }
  taken_cancellations_.clear();
  RemoveEnded();
}

void Engine::SortWaiting() {
  if (waiting_.size() < 2) return;
  const auto standing = [this](const std::unique_ptr<Sequence>& sequence) {
    return Standing{sequence->request.priority(), step_begin_ - sequence->arrival,
                    sequence->deadline - step_begin_};
  };
  std::stable_sort(waiting_.begin(), waiting_.end(), [&](const auto& a, const auto& b) {
    return Precedes(standing(a), standing(b));
  });
}

absl::Span<const PageKey> Engine::PrefixKeys(const Sequence& sequence) {
  // Rows that are still to be scored are computed, wherever their pages are.
  const size_t end = sequence.scores_prompt() ? sequence.scored_len : sequence.tokens.size() - 1;
  const size_t pages = end / kPageTokens;
  return absl::MakeSpan(sequence.keys).subspan(0, std::min(sequence.keys.size(), pages));
}

void Engine::TakeGrammars() {
  for (const auto& sequence : waiting_) {
    if (sequence->pending_grammar == nullptr || !sequence->pending_grammar->done()) continue;
    absl::StatusOr<std::unique_ptr<GrammarMatcher>> grammar = sequence->pending_grammar->Take();
    sequence->pending_grammar = nullptr;
    if (grammar.ok()) {
      sequence->grammar = *std::move(grammar);
    } else {
      sequence->reply.set_error(std::string(grammar.status().message()));
      sequence->reply.set_error_kind(v1::ERROR_KIND_INVALID_ARGUMENT);
      Finish(*sequence, v1::FINISH_REASON_ERROR);
    }
  }
  RemoveEnded();
}

void Engine::FetchFar() {
  for (size_t i = 0; i < std::min(waiting_.size(), kAdmissionsMax); ++i) {
    Sequence& sequence = *waiting_[i];
    // Once for each time that it waits, so that it never waits for ever where memory is short.
    if (std::exchange(sequence.fetch_considered, true)) continue;
    const absl::Span<const PageKey> keys = PrefixKeys(sequence);
    const v1::KvSource& source = sequence.request.kv_source();
    const int pages = std::min<int>(source.pages(), static_cast<int>(keys.size()));
    sequence.fetch_ticket = tiers_.Fetch(keys, {source.address(), pages});
  }
}

void Engine::ServePages() {
  const absl::Time end =
      step_begin_ + std::max(kServingTimeMin, kServingShare * std::exchange(computed_for_, {}));
  for (auto query = serving_.begin(); query != serving_.end();) {
    if (!std::exchange(query->fetching, true)) query->ticket = tiers_.FetchPages(query->pages);
    if (!tiers_.FetchDone(query->ticket)) {
      ++query;
      continue;
    }
    while (query->contents.size() < query->pages.size()) {
      if (options_.clock() > end) return OnHelperDone();  // the next step goes on
      query->contents.push_back(tiers_.CopyOutBlocking(query->pages[query->contents.size()]));
    }
    query->done(std::move(query->contents));
    query = serving_.erase(query);
  }
}

bool Engine::AskForMedia(Sequence& sequence, int cached_len) {
  bool lacks = false;
  for (size_t i = 0; i < sequence.media.size(); ++i) {
    if (!sequence.media[i].data.empty() || sequence.media[i].end() <= cached_len) continue;
    lacks = true;
    if (sequence.media_asked[i]) continue;
    sequence.media_asked[i] = true;
    if (sequence.media_to_ask.empty()) asking_.push_back(&sequence);
    sequence.media_to_ask.push_back(static_cast<uint32_t>(i));
  }
  return lacks;
}

SchedulerSnapshot Engine::Snapshot() {
  const PrefixCache& pages = cache_.pages();
  SchedulerSnapshot snapshot;
  snapshot.full_free = pages.available(KvPool::kFull);
  snapshot.sliding_free = pages.available(KvPool::kSliding);
  absl::flat_hash_set<PageKey> in_progress;  // the next page of each prompt that runs
  const auto add_in_progress = [&](const Sequence& sequence, size_t next_page) {
    if (next_page < sequence.keys.size()) in_progress.insert(sequence.keys[next_page]);
  };
  for (const auto& sequence : running_) {
    const PageTables& held = sequence->pages;
    snapshot.sequences.push_back(
        {.computed_len = sequence->computed_len,
         .token_count = static_cast<int>(sequence->tokens.size()),
         .running = true,
         .full_pages = pages.CountUnshared(KvPool::kFull, held.full),
         .sliding_pages = pages.CountUnshared(KvPool::kSliding, held.sliding),
         .held_pages = static_cast<int32_t>(held.full.size()),
         .drafts = static_cast<int>(sequence->drafts.size()),
         .priority = sequence->request.priority(),
         .all_outputs = sequence->scores_prompt(),
         .images = sequence->images});
    add_in_progress(*sequence, sequence->published_pages);
  }
  for (size_t i = 0; i < std::min(waiting_.size(), kAdmissionsMax); ++i) {
    Sequence& sequence = *waiting_[i];
    const absl::Span<const PageKey> keys = PrefixKeys(sequence);
    const TieredCache::Match match = tiers_.Find(keys);
    sequence.cached_len_seen = match.pages * kPageTokens;
    // What another computes need not be asked for, so that is looked at first.
    const bool deferred =
        sequence.pending_grammar != nullptr || !tiers_.FetchDone(sequence.fetch_ticket) ||
        (match.pages < static_cast<int>(keys.size()) && in_progress.contains(keys[match.pages])) ||
        AskForMedia(sequence, match.pages * kPageTokens);
    snapshot.sequences.push_back({.computed_len = match.pages * kPageTokens,
                                  .token_count = static_cast<int>(sequence.tokens.size()),
                                  .full_pages = match.full_pages,
                                  .sliding_pages = match.sliding_pages,
                                  .deferred = deferred,
                                  .priority = sequence.request.priority(),
                                  .all_outputs = sequence.scores_prompt(),
                                  .images = sequence.images});
    if (!deferred) add_in_progress(sequence, match.pages);
  }
  return snapshot;
}

SchedulerLimits Engine::Limits() const {
  SchedulerLimits limits;
  limits.step_tokens_max = options_.step_tokens_max;
  limits.running_requests_max = options_.running_requests_max;
  limits.draft_rows_max = runner_.options().output_rows_max - options_.running_requests_max;
  limits.rows_max = runner_.options().rows_max;
  limits.output_rows_max = runner_.options().output_rows_max;
  int decodes = 0;
  for (const auto& sequence : running_) {
    decodes += sequence->computed_len + 1 == static_cast<int>(sequence->tokens.size()) ? 1 : 0;
  }
  limits.prefill_tokens_max = prefill_budget_.Tokens(decodes, options_.step_tokens_max);
  return limits;
}

void Engine::AddStepTime(int rows, int prompt_rows, absl::Duration took) {
  const double seconds = absl::ToDoubleSeconds(took);
  step_costs_.Add(rows, seconds);
  prefill_budget_.Add(rows, prompt_rows, seconds);
  if (prompt_rows >= kPageTokens) tiers_.AddPrefill(rows, took);
}

void Engine::Step() {
  for (auto& sequence : running_) FreePagesBelowWindow(*sequence);
  TakeGrammars();
  FetchFar();
  const StepPlan plan = PlanStep(Snapshot(), Limits());
  std::vector<Sequence*> order;
  for (auto* queue : {&running_, &waiting_}) {
    for (auto& sequence : *queue) order.push_back(sequence.get());
  }
  Preempt(plan, order);
  stalled_ = plan.runs.empty() && plan.preempted.empty() && !waiting_.empty();
  if (!plan.runs.empty()) Compute(plan, order);
  RemoveEnded();
}

void Engine::Preempt(const StepPlan& plan, const std::vector<Sequence*>& order) {
  for (const int index : plan.preempted) {
    Sequence& sequence = *order[index];
    FreePages(sequence);
    sequence.computed_len = 0;
    sequence.drafts.clear();
    sequence.fetch_considered = false;
    ++sequence.preemptions;
    for (EngineObserver* observer : observers_) observer->OnPreemption();
    const auto found = std::find_if(running_.begin(), running_.end(),
                                    [&](const auto& other) { return other.get() == &sequence; });
    CHECK(found != running_.end());
    waiting_.push_front(std::move(*found));
    running_.erase(found);
    absl::MutexLock lock(&mutex_);
    ++waiting_count_;
  }
}

void Engine::Admit(const StepPlan& plan, const std::vector<Sequence*>& order) {
  std::vector<Sequence*> admitted;
  for (const StepPlan::Run& run : plan.runs) {
    Sequence& sequence = *order[run.sequence];
    const auto found = std::find_if(waiting_.begin(), waiting_.end(),
                                    [&](const auto& other) { return other.get() == &sequence; });
    if (found == waiting_.end()) continue;
    const auto place = std::upper_bound(
        running_.begin(), running_.end(), sequence.request.priority(),
        [](int priority, const auto& other) { return priority > other->request.priority(); });
    running_.insert(place, std::move(*found));
    waiting_.erase(found);
    HoldCachedPrefix(sequence);
    admitted.push_back(&sequence);
    absl::MutexLock lock(&mutex_);
    --waiting_count_;
  }
  // All are held before any page is taken for a copy, which might evict them.
  for (Sequence* sequence : admitted) FillCachedPrefix(*sequence);
}

void Engine::HoldCachedPrefix(Sequence& sequence) {
  const absl::Span<const PageKey> keys = PrefixKeys(sequence);
  const TieredCache::Match match = tiers_.Find(keys);
  tiers_.Hold(keys, match.pages, &sequence.pages.full, &sequence.pages.sliding);
  sequence.published_pages = match.pages;
  sequence.computed_len = match.pages * kPageTokens;
  sequence.branch_pages = match.known_pages > match.pages ? match.known_pages : 0;
}

void Engine::FillCachedPrefix(Sequence& sequence) {
  const int pages = sequence.published_pages;
  const TierTokens tokens =
      tiers_.Fill(PrefixKeys(sequence), pages, &sequence.pages.full, &sequence.pages.sliding);
  while (sequence.sliding_first < pages &&
         sequence.pages.sliding[sequence.sliding_first] == PageTables::kNoPage) {
    ++sequence.sliding_first;
  }
  if (sequence.first_run == absl::InfiniteFuture()) {
    sequence.cached = tokens;
  } else {
    sequence.restored_tokens += tokens.sum() - tokens.device;
  }
}

void Engine::Compute(const StepPlan& plan, const std::vector<Sequence*>& order) {
  // Cached prefixes are held before any page is taken, which might evict them.
  Admit(plan, order);
  Batch batch;
  std::vector<int> outputs;  // output rows of each run
  std::vector<GrammarMasks::Job> masks;
  for (const StepPlan::Run& run : plan.runs) {
    Sequence& sequence = *order[run.sequence];
    outputs.push_back(AddToBatch(sequence, run.tokens, batch));
    batch.best_counts.resize(batch.output_rows.size(), BestCount(sequence));
    if (outputs.back() > 0 && sequence.grammar != nullptr) {
      masks.push_back({sequence.grammar.get(), sequence.drafts, &sequence.masks});
    }
  }
  grammar_masks_.Begin(std::move(masks));
  const absl::Time begin = options_.clock();
  const absl::Span<const float> logits = runner_.RunBlocking(batch);
  const absl::Duration computed = options_.clock() - begin;
  computed_for_ = computed;
  grammar_masks_.BlockingFinish();

  std::vector<Sequence*> going_on;  // those that got a token and want more
  std::vector<int> state_rows;      // the output row that each one's newest token came from
  int row = 0, generated = 0, prefill_rows = 0;
  for (size_t i = 0; i < plan.runs.size(); ++i) {
    Sequence& sequence = *order[plan.runs[i].sequence];
    const int64_t vocab_size = options_.vocab_size;
    if (sequence.scores_prompt()) {
      const bool ends = sequence.computed_len + plan.runs[i].tokens == sequence.prompt_count;
      const int scored = outputs[i] - (ends ? 1 : 0);
      Score(sequence, logits.subspan(row * vocab_size, scored * vocab_size));
      row += scored;
      outputs[i] -= scored;
    }
    // Drafts count as computed when they are accepted.
    sequence.computed_len += plan.runs[i].tokens - std::max(0, outputs[i] - 1);
    prefill_rows += plan.runs[i].tokens - outputs[i];
    if (outputs[i] == 0) {
      PublishPages(sequence);
      continue;
    }
    const int accepted =
        Accept(sequence, logits.subspan(row * vocab_size, outputs[i] * vocab_size), outputs[i]);
    if (!sequence.ended) {
      going_on.push_back(&sequence);
      state_rows.push_back(row + accepted - 1);
    }
    row += outputs[i];
    generated += accepted;
  }
  AddStepTime(batch.rows(), prefill_rows, computed);
  Draft(going_on, state_rows, prefill_rows);
  const absl::Duration took = options_.clock() - step_begin_;
  if (took > absl::ZeroDuration()) {
    const double rate = generated / absl::ToDoubleSeconds(took);
    tokens_per_s_ += kRateSmoothing * (rate - tokens_per_s_);
  }
}

int Engine::BestCount(const Sequence& sequence) const {
  if (sequence.grammar != nullptr || sequence.scores_prompt()) return 0;
  return LikeliestNeeded(sequence.request.sampling(),
                         static_cast<int>(options_.suppressed_ids.size()), options_.vocab_size);
}

int Engine::AddToBatch(Sequence& sequence, int tokens, Batch& batch) {
  if (sequence.first_run == absl::InfiniteFuture()) sequence.first_run = step_begin_;
  TakePages(sequence, tokens);
  const int pending = static_cast<int>(sequence.tokens.size()) - sequence.computed_len;
  const auto run =
      absl::MakeSpan(sequence.tokens).subspan(sequence.computed_len, std::min(tokens, pending));
  std::vector<int32_t> ids(run.begin(), run.end());
  sequence.drafts.resize(std::max(0, tokens - pending));
  ids.insert(ids.end(), sequence.drafts.begin(), sequence.drafts.end());
  int outputs = tokens < pending ? 0 : 1 + static_cast<int>(sequence.drafts.size());
  if (sequence.scores_prompt()) {
    // Rows below scored_len come again after a preemption; they were given out.
    CHECK_LE(sequence.computed_len, sequence.scored_len);
    outputs = std::max(0, sequence.computed_len + tokens - sequence.scored_len);
  }
  batch.Add(ids, sequence.computed_len, &sequence.pages, outputs, sequence.media,
            sequence.adapter.get());
  return outputs;
}

void Engine::TakePages(Sequence& sequence, int tokens) {
  const int pages = (sequence.computed_len + tokens + kPageTokens - 1) / kPageTokens;
  while (static_cast<int>(sequence.pages.full.size()) < pages) {
    sequence.pages.full.push_back(cache_.pages().Take(KvPool::kFull));
    sequence.pages.sliding.push_back(cache_.pages().Take(KvPool::kSliding));
  }
}

void Engine::PublishPages(Sequence& sequence) {
  for (int& i = sequence.published_pages; (i + 1) * kPageTokens <= sequence.computed_len; ++i) {
    if (static_cast<size_t>(i) == sequence.keys.size()) {
      const auto tokens =
          absl::MakeSpan(sequence.tokens).subspan(int64_t{i} * kPageTokens, kPageTokens);
      sequence.keys.push_back(NextPageKey(i == 0 ? sequence.root_key : sequence.keys.back(), tokens,
                                          i * kPageTokens, sequence.digests));
    }
    int32_t& full = sequence.pages.full[i];
    full = cache_.pages().Publish(KvPool::kFull, full, sequence.keys[i], i);
    int32_t& sliding = sequence.pages.sliding[i];
    sliding = cache_.pages().Publish(KvPool::kSliding, sliding, sequence.keys[i], i);
    // Where the prompt ends, and where it leaves what others had computed, more may go on.
    if (i + 1 == sequence.prompt_count / kPageTokens || i + 1 == sequence.branch_pages) {
      cache_.pages().MarkResumePoint(sequence.keys, i + 1);
    }
  }
}

void Engine::FreePages(Sequence& sequence) {
  cache_.pages().MarkResumePoint(sequence.keys, sequence.published_pages);
  for (const int32_t page : sequence.pages.full) cache_.pages().Release(KvPool::kFull, page);
  for (const int32_t page : sequence.pages.sliding) {
    if (page != PageTables::kNoPage) cache_.pages().Release(KvPool::kSliding, page);
  }
  sequence.pages = {};
  sequence.sliding_first = 0;
  sequence.published_pages = 0;
}

void Engine::FreePagesBelowWindow(Sequence& sequence) {
  // The next row sees window - 1 keys before it; the drafter sees one key more.
  const int first_key = sequence.computed_len - options_.sliding_window_tokens - 1;
  for (; (sequence.sliding_first + 1) * kPageTokens <= first_key; ++sequence.sliding_first) {
    int32_t& page = sequence.pages.sliding[sequence.sliding_first];
    cache_.pages().Release(KvPool::kSliding, page);
    page = PageTables::kNoPage;
  }
}

int Engine::Accept(Sequence& sequence, absl::Span<const float> logits, int rows) {
  touched_.push_back(&sequence);
  v1::FinishReason reason = v1::FINISH_REASON_UNSPECIFIED;
  int accepted = 0;
  while (reason == v1::FINISH_REASON_UNSPECIFIED) {
    const absl::Span<uint32_t> mask =
        sequence.grammar == nullptr
            ? absl::Span<uint32_t>()
            : absl::MakeSpan(sequence.masks).subspan(int64_t{accepted} * mask_words_, mask_words_);
    reason = AppendToken(
        sequence, logits.subspan(int64_t{accepted} * options_.vocab_size, options_.vocab_size),
        mask);
    if (reason == v1::FINISH_REASON_ERROR) break;
    ++accepted;
    if (accepted == rows || sequence.tokens.back() != sequence.drafts[accepted - 1]) break;
    // The next row was computed from just this token.
    if (reason == v1::FINISH_REASON_UNSPECIFIED) ++sequence.computed_len;
  }
  sequence.drafts_proposed += rows - 1;
  const int accepted_drafts = std::max(0, accepted - 1);
  sequence.drafts_accepted += accepted_drafts;
  if (rows > 1) {
    sequence.acceptance.Add(rows - 1, accepted_drafts);
  } else {
    sequence.acceptance.Skip();
  }
  sequence.drafts.clear();
  TellTokens(sequence, accepted, rows - 1);
  PublishPages(sequence);
  if (reason != v1::FINISH_REASON_UNSPECIFIED) Finish(sequence, reason);
  return accepted;
}

void Engine::TellTokens(Sequence& sequence, int tokens, int drafts) {
  if (observers_.empty() || tokens == 0) return;
  const absl::Time now = options_.clock();
  EngineObserver::Tokens told;
  told.tokens = tokens;
  told.drafts_proposed = drafts;
  told.drafts_accepted = tokens - 1;
  told.first = sequence.told_at == absl::InfinitePast();
  told.took = now - (told.first ? sequence.arrival : sequence.told_at);
  if (told.first) {
    told.prompt_tokens = sequence.prompt_count;
    told.cached_tokens = sequence.cached.sum();
  }
  sequence.told_at = now;
  for (EngineObserver* observer : observers_) observer->OnTokens(told);
}

void Engine::Score(Sequence& sequence, absl::Span<const float> logits) {
  for (; !logits.empty(); logits.remove_prefix(options_.vocab_size)) {
    ++sequence.scored_len;
    AddLogprobs(logits.subspan(0, options_.vocab_size), sequence.tokens[sequence.scored_len],
                sequence.request.prompt_logprobs(), sequence.reply.add_prompt_logprobs());
  }
}

absl::StatusOr<int32_t> Engine::Choose(Sequence& sequence, absl::Span<const float> logits,
                                       absl::Span<uint32_t> mask) {
  for (int refusals = 0;; ++refusals) {
    const absl::StatusOr<int32_t> chosen =
        Sample(logits, sequence.request.sampling(), {sequence.tokens, sequence.prompt_count},
               options_.suppressed_ids, mask);
    if (!chosen.ok() || sequence.grammar == nullptr || sequence.grammar->Accept(*chosen)) {
      return chosen;
    }
    mask[*chosen / 32] &= ~(uint32_t{1} << (*chosen % 32));
    if (refusals == kRefusalsMax) sequence.grammar->FillExactMask(mask);
  }
}

v1::FinishReason Engine::AppendToken(Sequence& sequence, absl::Span<const float> logits,
                                     absl::Span<uint32_t> mask) {
  const v1::Sampling& sampling = sequence.request.sampling();
  const absl::StatusOr<int32_t> chosen = Choose(sequence, logits, mask);
  if (!chosen.ok()) {
    sequence.reply.set_error(std::string(chosen.status().message()));
    sequence.reply.set_error_kind(v1::ERROR_KIND_INTERNAL);
    return v1::FINISH_REASON_ERROR;
  }
  const int32_t id = *chosen;
  sequence.tokens.push_back(id);
  if (sequence.first_token == absl::InfiniteFuture()) sequence.first_token = options_.clock();
  sequence.reply.add_tokens(static_cast<uint32_t>(id));
  if (sampling.want_logprobs()) {
    AddLogprobs(logits, id, sampling.top_logprobs(), sequence.reply.add_logprobs());
  }
  if (absl::c_linear_search(sequence.request.stop_tokens(), static_cast<uint32_t>(id))) {
    return v1::FINISH_REASON_STOP;
  }
  return TokensLeft(sequence) == 0 ? v1::FINISH_REASON_LENGTH : v1::FINISH_REASON_UNSPECIFIED;
}

int Engine::TokensLeft(const Sequence& sequence) const {
  const int64_t wanted = int64_t{sequence.request.tokens_max()} - sequence.generated_count();
  const int64_t room = options_.context_tokens_max - static_cast<int64_t>(sequence.tokens.size());
  return static_cast<int>(std::max<int64_t>(0, std::min(wanted, room)));
}

void Engine::Draft(absl::Span<Sequence* const> sequences, absl::Span<const int> state_rows,
                   int prefill_rows) {
  if (drafter_ == nullptr || sequences.empty()) return;
  DraftSituation situation;
  for (const Sequence* sequence : sequences) {
    situation.acceptance.push_back(sequence->acceptance.share());
  }
  situation.other_rows = prefill_rows;
  situation.drafts_max = drafter_->options().drafts_max;
  situation.draft_rows_max = runner_.options().output_rows_max - options_.running_requests_max;
  const int count = ChooseDraftCount(situation, step_costs_, draft_costs_);
  if (count == 0) return;
  std::vector<Drafter::Row> rows;
  for (size_t i = 0; i < sequences.size(); ++i) {
    const Sequence& sequence = *sequences[i];
    rows.push_back({sequence.tokens.back(), sequence.computed_len, &sequence.pages, state_rows[i]});
  }
  const absl::Time begin = options_.clock();
  const std::vector<int32_t> drafts = drafter_->DraftBlocking(rows, runner_.output_states(), count);
  draft_costs_.Add(static_cast<int>(rows.size()),
                   absl::ToDoubleSeconds(options_.clock() - begin) / count);
  for (size_t i = 0; i < sequences.size(); ++i) {
    // One token comes without a draft.
    const int useful = std::min(count, TokensLeft(*sequences[i]) - 1);
    const auto first = drafts.begin() + static_cast<int64_t>(i) * count;
    sequences[i]->drafts.assign(first, first + useful);
  }
}

void Engine::Finish(Sequence& sequence, v1::FinishReason reason) {
  CHECK(!sequence.ended);
  sequence.ended = true;
  FreePages(sequence);
  tiers_.Forget(sequence.fetch_ticket);
  const absl::Time now = options_.clock();
  const absl::Time run = std::min(sequence.first_run, now);
  const absl::Time token = std::min(sequence.first_token, now);
  sequence.reply.set_finish_reason(reason);
  v1::Ledger* ledger = sequence.reply.mutable_ledger();
  ledger->set_queue_us(Microseconds(run - sequence.arrival));
  ledger->set_prefill_us(Microseconds(token - run));
  ledger->set_decode_us(Microseconds(now - token));
  ledger->set_prompt_tokens(sequence.prompt_count);
  ledger->set_generated_tokens(sequence.generated_count() - sequence.request.resume_from_size());
  ledger->set_drafts_proposed(sequence.drafts_proposed);
  ledger->set_drafts_accepted(sequence.drafts_accepted);
  ledger->set_cached_tokens(sequence.cached.sum());
  ledger->set_cached_device_tokens(sequence.cached.device);
  ledger->set_cached_host_tokens(sequence.cached.host);
  ledger->set_cached_disk_tokens(sequence.cached.disk);
  ledger->set_cached_peer_tokens(sequence.cached.peer);
  ledger->set_restored_tokens(sequence.restored_tokens);
  ledger->set_preemptions(sequence.preemptions);
  for (EngineObserver* observer : observers_) observer->OnEnd(reason, *ledger);
  if (std::find(touched_.begin(), touched_.end(), &sequence) == touched_.end()) {
    touched_.push_back(&sequence);
  }
}

void Engine::RemoveEnded() {
  // Delivered first: the sequences go away here.
  Deliver();
  int waiting = 0, ended = 0;
  for (auto* queue : {&running_, &waiting_}) {
    for (auto at = queue->begin(); at != queue->end();) {
      if (!(*at)->ended) {
        ++at;
        continue;
      }
      ++ended;
      waiting += queue == &waiting_ ? 1 : 0;
      at = queue->erase(at);
    }
  }
  absl::MutexLock lock(&mutex_);
  waiting_count_ -= waiting;
  unfinished_ -= ended;
}

void Engine::Deliver() {
  std::map<StepSink*, std::vector<StepSink::Output>> by_sink;
  for (Sequence* sequence : touched_) {
    by_sink[sequence->sink.get()].push_back({sequence->stream_id, std::move(sequence->reply)});
    sequence->reply.Clear();
  }
  touched_.clear();
  for (Sequence* sequence : asking_) {
    by_sink[sequence->sink.get()].push_back(
        {sequence->stream_id, {}, std::exchange(sequence->media_to_ask, {})});
  }
  asking_.clear();
  for (auto& [sink, outputs] : by_sink) sink->OnStep(std::move(outputs));
}

uint64_t Engine::PrefillTokensWaiting() const {
  uint64_t tokens = 0;
  for (const auto& sequence : running_) {
    const size_t pending = sequence->tokens.size() - sequence->computed_len;
    if (pending > 1) tokens += pending;
  }
  for (const auto& sequence : waiting_) {
    tokens += sequence->tokens.size() -
              std::min<size_t>(sequence->tokens.size(), sequence->cached_len_seen);
  }
  return tokens;
}

void Engine::PublishLoad() {
  v1::Load load;
  load.set_running_requests(running_.size());
  const PrefixCache& pages = cache_.pages();
  load.set_full_pages_free(pages.available(KvPool::kFull));
  load.set_full_pages_total(pages.page_count(KvPool::kFull));
  load.set_sliding_pages_free(pages.available(KvPool::kSliding));
  load.set_sliding_pages_total(pages.page_count(KvPool::kSliding));
  load.set_generated_tokens_per_s(running_.empty() ? 0 : tokens_per_s_);
  load.set_prefill_tokens_waiting(PrefillTokensWaiting());
  load.set_prefill_tokens_per_s(tiers_.prefill_tokens_per_s());
  load.set_peer_bytes_per_s(tiers_.rates().peer_bytes_per_s);
  const PeerStats peers = tiers_.peer_stats();
  load.set_pulled_pages(peers.pages);
  load.set_pulled_bytes(peers.bytes);
  load.set_missed_pages(peers.missed);
  const double one_row_s = step_costs_.Estimate(1);
  const double all_rows_s = step_costs_.Estimate(options_.running_requests_max);
  load.set_decode_step_s(one_row_s);
  load.set_decode_row_s(std::max(0.0, all_rows_s - one_row_s) /
                        std::max(1, options_.running_requests_max - 1));
  {
    absl::MutexLock lock(&mutex_);
    load.set_waiting_requests(waiting_count_);
    load.set_draining(draining_);
    announced_drain_ = draining_;
  }
  if (options_.on_load) options_.on_load(load);
  for (EngineObserver* observer : observers_) observer->OnLoad(load);
}

}  // namespace facet
