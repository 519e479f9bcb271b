#include "ops/cli/hub/hub_client.h"

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_future.hpp>
#include <chrono>
#include <cstdio>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/status_macros.h"

namespace facet {

namespace asio = boost::asio;

namespace {

constexpr int kRedirectsMax = 5;
constexpr size_t kTokenBytesMax = 1024;
constexpr size_t kReasonBytesMax = 300;
constexpr absl::Duration kPauseMax = absl::Seconds(30);
// A file of 24 GB at a quarter of a megabyte a second takes a day; what takes longer is stuck.
constexpr auto kExchangeMax = std::chrono::hours(48);

bool MayGoBetterLater(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status);
}

// What a hub says in a header about an error: bounded, one line.
std::string ReasonOf(const HttpAnswerHead& head) {
  std::string reason = head.Header("x-error-message").substr(0, kReasonBytesMax);
  for (char& c : reason) {
    if (absl::ascii_iscntrl(c)) c = ' ';
  }
  return reason.empty() ? "" : absl::StrCat(": ", reason);
}

// Stands before the caller's reader: takes redirects and refusals out of the way.
class AnswerGate : public HttpAnswerReader {
 public:
  AnswerGate(const HttpUrl& url, bool is_endpoint, bool has_token, bool showed_token,
             HttpAnswerReader& reader)
      : url_(url),
        is_endpoint_(is_endpoint),
        has_token_(has_token),
        showed_token_(showed_token),
        reader_(reader) {}

  absl::Status OnHead(const HttpAnswerHead& head) override {
    if (head.IsRedirect()) {
      location_ = head.Header("location");
      if (location_.empty()) return absl::UnavailableError(url_.host + " redirects to nowhere");
      return absl::CancelledError("redirect");
    }
    if (head.status == 200 || head.status == 206 || head.status == 416) return reader_.OnHead(head);
    if ((head.status == 401 || head.status == 403) && is_endpoint_) {
      wants_token_ = has_token_ && !showed_token_;
      return RefusedStatus(head);
    }
    const std::string path = url_.target.substr(0, url_.target.find('?'));
    const std::string what =
        absl::StrCat(url_.host, " answers ", head.status, " for ", path, ReasonOf(head));
    if (head.status == 404) return absl::NotFoundError(what);
    // Addresses that a hub redirects to are signed for a while: a later try gets a new one.
    const bool later = head.status == 408 || head.status == 429 || head.status >= 500 ||
                       (!is_endpoint_ && head.status == 403);
    return later ? absl::UnavailableError(what) : absl::FailedPreconditionError(what);
  }
  absl::Status OnBody(absl::string_view piece) override { return reader_.OnBody(piece); }

  const std::string& location() const { return location_; }
  bool wants_token() const { return wants_token_; }

 private:
  absl::Status RefusedStatus(const HttpAnswerHead& head) const {
    return absl::PermissionDeniedError(
        absl::StrCat(url_.host, " answers ", head.status, ReasonOf(head),
                     showed_token_ ? " (HF_TOKEN does not open it, or there is no such repository)"
                                   : " (it is private, and needs a token in HF_TOKEN; or there is "
                                     "no such repository)"));
  }

  const HttpUrl& url_;
  const bool is_endpoint_, has_token_, showed_token_;
  HttpAnswerReader& reader_;
  std::string location_;
  bool wants_token_ = false;
};

class TextReader : public HttpAnswerReader {
 public:
  explicit TextReader(uint64_t bytes_max) : bytes_max_(bytes_max) {}

  absl::Status OnHead(const HttpAnswerHead& head) override {
    text.body.clear();
    text.link = head.Header("link");
    return absl::OkStatus();
  }
  absl::Status OnBody(absl::string_view piece) override {
    if (piece.size() > bytes_max_ - text.body.size()) {
      return absl::FailedPreconditionError(
          absl::StrCat("the hub answers with more than ", bytes_max_, " bytes"));
    }
    text.body.append(piece.data(), piece.size());
    return absl::OkStatus();
  }

  HubClient::Text text;

 private:
  const uint64_t bytes_max_;
};

absl::Status BlockingRun(HttpClient& client, HttpGetRequest request, HttpAnswerReader& reader) {
  asio::io_context context;
  auto status = asio::co_spawn(context, client.Get(std::move(request), reader), asio::use_future);
  context.run();
  return status.get();
}

}  // namespace

absl::StatusOr<HubOptions> MakeHubOptions(absl::string_view endpoint, absl::string_view token) {
  HubOptions options;
  absl::StatusOr<HttpUrl> url = ParseHttpsOrLoopbackUrl(endpoint);
  if (!url.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat("--endpoint=", endpoint, ": ", url.status().message()));
  }
  options.endpoint = *std::move(url);
  options.token = std::string(absl::StripAsciiWhitespace(token));
  // Anything else would end the header that it stands in.
  if (options.token.size() > kTokenBytesMax ||
      !absl::c_all_of(options.token, [](char c) { return absl::ascii_isgraph(c); })) {
    return absl::InvalidArgumentError("HF_TOKEN has bytes that no token has");
  }
  return options;
}

HubClient::HubClient(HubOptions options) : options_(std::move(options)), http_({}) {}

absl::StatusOr<HttpUrl> HubClient::UrlOf(absl::string_view target) const {
  if (!absl::StartsWith(target, "/")) return ParseRedirect(options_.endpoint, target);
  return ParseRedirect(options_.endpoint,
                       absl::StrCat(absl::StripSuffix(options_.endpoint.target, "/"), target));
}

absl::Status HubClient::BlockingGet(absl::string_view target,
                                    const std::map<std::string, std::string>& headers,
                                    HttpAnswerReader& reader) {
  ASSIGN_OR_RETURN(HttpUrl url, UrlOf(target));
  for (int redirects = 0; redirects <= kRedirectsMax;) {
    const bool is_endpoint = url.SameOrigin(options_.endpoint);
    const bool show_token = is_endpoint && token_asked_;
    HttpGetRequest request;
    request.url = url;
    request.headers = headers;
    if (show_token) request.headers["Authorization"] = absl::StrCat("Bearer ", options_.token);
    request.end = std::chrono::steady_clock::now() + kExchangeMax;
    request.silence_max = std::chrono::milliseconds(options_.silence_max_ms);
    AnswerGate gate(url, is_endpoint, !options_.token.empty(), show_token, reader);
    const absl::Status status = BlockingRun(http_, std::move(request), gate);
    if (gate.wants_token()) {
      token_asked_ = true;
      continue;
    }
    if (gate.location().empty()) return status;
    ASSIGN_OR_RETURN(url, ParseRedirect(url, gate.location()));
    ++redirects;
  }
  return absl::FailedPreconditionError(
      absl::StrCat(url.host, " redirects more than ", kRedirectsMax, " times"));
}

absl::StatusOr<HubClient::Text> HubClient::BlockingGetText(absl::string_view target,
                                                           uint64_t bytes_max) {
  TextReader reader(bytes_max);
  RETURN_IF_ERROR(BlockingRetry([&](bool*) { return BlockingGet(target, {}, reader); }));
  return std::move(reader.text);
}

absl::Status HubClient::BlockingRetry(
    const std::function<absl::Status(bool* progressed)>& attempt) const {
  absl::Duration pause = absl::Milliseconds(options_.pause_ms);
  for (int tries = 1, failures = 0;; ++tries) {
    bool progressed = false;
    const absl::Status status = attempt(&progressed);
    if (status.ok() || !MayGoBetterLater(status)) return status;
    if (progressed) {
      failures = 0;
      pause = absl::Milliseconds(options_.pause_ms);
    }
    if (++failures >= options_.failures_max || tries >= options_.tries_max) {
      return absl::Status(status.code(),
                          absl::StrCat(status.message(), " (given up after ", tries, " tries)"));
    }
    std::fprintf(stderr, "%s; trying again in %s\n", std::string(status.message()).c_str(),
                 absl::FormatDuration(pause).c_str());
    absl::SleepFor(pause);
    pause = std::min(pause * 2, kPauseMax);
  }
}

}  // namespace facet
