#include "router/media/media_fetcher.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/http_url.h"
#include "model/media/audio_decoder.h"
#include "model/media/image_decoder.h"
#include "model/media/video_frames.h"
#include "router/media/public_address.h"

namespace facet {

namespace asio = boost::asio;

namespace {

absl::Status Refused(absl::string_view why) { return absl::InvalidArgumentError(why); }

bool HostAllowed(const std::vector<std::string>& hosts, absl::string_view host) {
  return std::any_of(hosts.begin(), hosts.end(), [&](absl::string_view allowed) {
    if (allowed == "*") return true;
    return absl::StartsWith(allowed, ".") ? absl::EndsWithIgnoreCase(host, allowed)
                                          : absl::EqualsIgnoreCase(host, allowed);
  });
}

HttpClientOptions ClientOptions(const MediaFetcherOptions& options) {
  HttpClientOptions client;
  client.ca_file = options.ca_file;
  // One address that is not public is enough: such a name is not what it seems.
  client.check_address = [allowed = options.address_allowed](const std::string& host,
                                                             const asio::ip::address& address) {
    if (allowed ? allowed(address) : IsPublicAddress(address)) return absl::OkStatus();
    return Refused(absl::StrCat(host, " has an address that is not public"));
  };
  return client;
}

// What one address answered: a file, or where it lies.
class MediaReader : public HttpAnswerReader {
 public:
  MediaReader(const std::string& host, int64_t bytes_max) : host_(host), bytes_max_(bytes_max) {}

  absl::Status OnHead(const HttpAnswerHead& head) override {
    redirect_ = head.IsRedirect();
    if (redirect_) {
      location_ = head.Header("location");
      if (location_.empty()) return Refused(absl::StrCat(host_, " redirects to nowhere"));
    } else if (head.status != 200) {
      return Refused(absl::StrCat(host_, " answered with status ", head.status));
    }
    int64_t length;
    const bool known = absl::SimpleAtoi(head.Header("content-length"), &length);
    return known && length > bytes_max_ ? TooLarge() : absl::OkStatus();
  }
  absl::Status OnBody(absl::string_view piece) override {
    if (piece.size() > static_cast<size_t>(bytes_max_) - file_.size()) return TooLarge();
    file_.append(piece.data(), piece.size());
    return absl::OkStatus();
  }

  bool redirect() const { return redirect_; }
  const std::string& location() const { return location_; }
  std::string& file() { return file_; }

 private:
  absl::Status TooLarge() const {
    return Refused(absl::StrCat("the file has more than ", bytes_max_, " bytes"));
  }

  const std::string& host_;
  const int64_t bytes_max_;
  bool redirect_ = false;
  std::string location_;
  std::string file_;
};

}  // namespace

absl::Status CheckFetcherOptions(const MediaFetcherOptions& options) {
  if (!options.enabled) return absl::OkStatus();
  if (options.hosts.empty()) {
    return Refused("--fetch_media needs --fetch_media_hosts: name the hosts that may be asked");
  }
  const absl::Status status = HttpClient::CheckCertificates(options.ca_file);
  if (status.ok()) return status;
  return Refused(absl::StrCat("--fetch_media_ca_file: ", status.message()));
}

MediaFetcher::MediaFetcher(MediaFetcherOptions options)
    : options_(std::move(options)),
      client_(options_.enabled ? std::make_unique<HttpClient>(ClientOptions(options_)) : nullptr) {}

int64_t MediaFetcher::BytesMax(MediaPart::Kind kind) {
  switch (kind) {
    case MediaPart::Kind::kImage:
      return ImageLimits().bytes_max;
    case MediaPart::Kind::kAudio:
      return AudioLimits().bytes_max;
    case MediaPart::Kind::kVideo:
      return VideoLimits().bytes_max;
  }
  return 0;
}

asio::awaitable<absl::StatusOr<std::string>> MediaFetcher::Fetch(std::string text,
                                                                 int64_t bytes_max) {
  if (client_ == nullptr) {
    co_return Refused("this server fetches no addresses: send the file as a data: URL");
  }
  const std::chrono::milliseconds timeout(options_.timeout_ms);
  const auto end = std::chrono::steady_clock::now() + timeout;
  absl::StatusOr<HttpUrl> url = ParseHttpsUrl(text);
  for (int redirects = 0; redirects <= options_.redirects_max; ++redirects) {
    if (!url.ok()) co_return url.status();
    if (!HostAllowed(options_.hosts, url->host)) {
      co_return Refused(absl::StrCat("this server fetches nothing from ", url->host));
    }
    MediaReader reader(url->host, bytes_max);
    HttpGetRequest request;
    request.url = *url;
    request.end = end;
    request.silence_max = timeout;
    // The client named the address, so whatever is wrong with it is its to mend.
    const absl::Status status = co_await client_->Get(std::move(request), reader);
    if (!status.ok()) co_return Refused(status.message());
    if (!reader.redirect()) co_return std::move(reader.file());
    url = ParseRedirect(*url, reader.location());
  }
  co_return Refused(absl::StrCat("there are more than ", options_.redirects_max, " redirects"));
}

}  // namespace facet
