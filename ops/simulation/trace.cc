#include "ops/simulation/trace.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "ops/simulation/input_object.h"

namespace facet {
namespace {

constexpr double kTimeMaxS = 1e9;
constexpr int64_t kTokensMax = 1 << 24;
constexpr int kMooncakeBlockTokens = 512;
constexpr int kIdsOfDraw = 16;  // Ids of four bits in one number.

// SplitMix64 (Steele, Lea and Flood 2014).
uint64_t Mixed(uint64_t value) {
  value += 0x9e3779b97f4a7c15;
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9;
  value = (value ^ (value >> 27)) * 0x94d049bb133111eb;
  return value ^ (value >> 31);
}

// REQUIRES: `request` was the last that was read.
absl::Status CheckOrder(const InputObject& object, absl::string_view name, const Trace& trace,
                        const TraceRequest& request) {
  if (trace.empty() || request.arrival_s >= trace.back().arrival_s) return absl::OkStatus();
  return object.Wrong(name, "is before that of the request above it");
}

}  // namespace

uint64_t ContentOf(absl::string_view name) {
  const std::string digest = Sha256({name});
  uint64_t content;
  std::memcpy(&content, digest.data(), sizeof(content));
  return content;
}

void AppendTokens(const TraceRequest& request, std::vector<uint32_t>& ids) {
  static_assert(kTokenIds == 16, "an id takes four bits of a draw");
  for (const PromptSegment& segment : request.prompt) {
    const uint64_t content = Mixed(segment.content);
    uint64_t draw = 0;
    for (int i = 0; i < segment.tokens; ++i, draw >>= 4) {
      if (i % kIdsOfDraw == 0) draw = Mixed(content + i);
      ids.push_back(draw % kTokenIds);
    }
  }
}

absl::StatusOr<Trace> ParseTrace(absl::string_view text, const std::string& file) {
  Trace trace;
  RETURN_IF_ERROR(ForEachInputObject(text, file, [&](const InputObject& object) -> absl::Status {
    RETURN_IF_ERROR(
        object.CheckNames({"arrival_s", "tenant", "prompt", "answer_tokens", "deadline_s"}));
    TraceRequest request;
    ASSIGN_OR_RETURN(request.arrival_s, object.Number("arrival_s", 0, kTimeMaxS));
    RETURN_IF_ERROR(CheckOrder(object, "arrival_s", trace, request));
    ASSIGN_OR_RETURN(request.tenant, object.String("tenant", request.tenant));
    ASSIGN_OR_RETURN(const auto segments, object.NamedCounts("prompt", kTokensMax));
    if (segments.empty()) return object.Wrong("prompt", "is empty");
    for (const auto& [name, tokens] : segments) {
      request.prompt.push_back({ContentOf(name), static_cast<int>(tokens)});
    }
    ASSIGN_OR_RETURN(request.answer_tokens, object.Integer("answer_tokens", 1, kTokensMax));
    ASSIGN_OR_RETURN(request.deadline_s, object.Number("deadline_s", 0, kTimeMaxS, 0));
    trace.push_back(std::move(request));
    return absl::OkStatus();
  }));
  return trace;
}

absl::StatusOr<Trace> ParseMooncakeTrace(absl::string_view text, const std::string& file) {
  Trace trace;
  RETURN_IF_ERROR(ForEachInputObject(text, file, [&](const InputObject& object) -> absl::Status {
    TraceRequest request;
    ASSIGN_OR_RETURN(const double timestamp_ms, object.Number("timestamp", 0, kTimeMaxS * 1000));
    request.arrival_s = timestamp_ms / 1000;
    RETURN_IF_ERROR(CheckOrder(object, "timestamp", trace, request));
    ASSIGN_OR_RETURN(const int64_t length, object.Integer("input_length", 1, kTokensMax));
    ASSIGN_OR_RETURN(request.answer_tokens, object.Integer("output_length", 1, kTokensMax));
    ASSIGN_OR_RETURN(const std::vector<int64_t> ids, object.Integers("hash_ids"));
    const int64_t blocks = (length + kMooncakeBlockTokens - 1) / kMooncakeBlockTokens;
    if (static_cast<int64_t>(ids.size()) != blocks) {
      return object.Wrong("hash_ids", absl::StrCat("has ", ids.size(), " blocks, input_length ",
                                                   length, " has ", blocks));
    }
    for (int64_t i = 0; i < blocks; ++i) {
      const int64_t left = length - i * kMooncakeBlockTokens;
      request.prompt.push_back({Mixed(static_cast<uint64_t>(ids[i])),
                                static_cast<int>(std::min<int64_t>(kMooncakeBlockTokens, left))});
    }
    trace.push_back(std::move(request));
    return absl::OkStatus();
  }));
  return trace;
}

Trace MakeSharedPrefixTrace(const SharedPrefixOptions& options) {
  std::mt19937_64 random(options.seed);
  std::vector<std::pair<int, int>> order;  // Group, user.
  for (int group = 0; group < options.groups; ++group) {
    for (int user = 0; user < options.users; ++user) order.emplace_back(group, user);
  }
  Trace trace;
  double now_s = 0;
  for (int i = 0; i < options.requests; ++i) {
    const size_t place = i % order.size();
    // std::shuffle's draws are the library's own; these are the same everywhere.
    if (place == 0) {
      for (size_t k = order.size() - 1; k > 0; --k) std::swap(order[k], order[random() % (k + 1)]);
    }
    const auto [group, user] = order[place];
    const double uniform = (static_cast<double>(random() >> 11) + 0.5) * 0x1p-53;
    now_s -= std::log(uniform) / options.requests_per_s;
    TraceRequest request;
    request.arrival_s = now_s;
    const std::string question = options.same_questions ? absl::StrCat("user ", group, " ", user)
                                                        : absl::StrCat("question ", i);
    request.prompt = {{ContentOf(absl::StrCat("group ", group)), options.prefix_tokens},
                      {ContentOf(question), options.question_tokens}};
    request.answer_tokens = options.answer_tokens;
    request.deadline_s = options.deadline_s;
    trace.push_back(std::move(request));
  }
  return trace;
}

}  // namespace facet
