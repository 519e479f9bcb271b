#ifndef FACET_TESTS_ROUTER_FIXTURE_H_
#define FACET_TESTS_ROUTER_FIXTURE_H_

#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/streambuf.hpp>
#include <boost/asio/write.hpp>
#include <boost/json.hpp>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/synchronization/mutex.h"
#include "base/check.h"
#include "gtest/gtest.h"
#include "router/router.h"
#include "tests/fake_worker/fake_worker.h"
#include "tests/fake_worker/small_model.h"

namespace facet::testing {

// A whole router in this process, over loopback, with workers that have no model.

struct Response {
  int status = 0;
  std::map<std::string, std::string> headers;  // Lower-case names.
  std::string body;
  boost::json::value Json() const { return boost::json::parse(body); }
};

// A client that writes and reads bytes, so that a test can do what no library would.
class Client {
 public:
  explicit Client(int port) : socket_(context_) {
    socket_.connect({boost::asio::ip::address_v4::loopback(), static_cast<uint16_t>(port)});
  }

  void Write(absl::string_view bytes) {
    boost::system::error_code ignored;  // The server may have refused already.
    boost::asio::write(socket_, boost::asio::buffer(bytes.data(), bytes.size()), ignored);
  }
  // Up to and with `end`, or what there is when the server closes.
  std::string ReadUntil(const std::string& end) {
    boost::system::error_code error;
    boost::asio::read_until(socket_, buffer_, end, error);
    const std::string all(boost::asio::buffers_begin(buffer_.data()),
                          boost::asio::buffers_end(buffer_.data()));
    const size_t at = all.find(end);
    const size_t size = at == std::string::npos ? all.size() : at + end.size();
    buffer_.consume(size);
    return all.substr(0, size);
  }
  std::string ReadExactly(size_t size) {
    boost::system::error_code error;
    while (buffer_.size() < size && !error) {
      buffer_.commit(socket_.read_some(buffer_.prepare(4096), error));
    }
    size = std::min(size, buffer_.size());
    std::string result(boost::asio::buffers_begin(buffer_.data()),
                       boost::asio::buffers_begin(buffer_.data()) + size);
    buffer_.consume(size);
    return result;
  }
  std::string ReadAll() { return ReadUntil("\x01 never \x01"); }

  Response ReadHeader() {
    Response response;
    const std::vector<std::string> lines = absl::StrSplit(ReadUntil("\r\n\r\n"), "\r\n");
    const std::vector<std::string> status = absl::StrSplit(lines[0], absl::MaxSplits(' ', 2));
    if (status.size() > 1) CHECK_EQ(absl::SimpleAtoi(status[1], &response.status), true);
    for (size_t i = 1; i < lines.size(); ++i) {
      const std::pair<std::string, std::string> field =
          absl::StrSplit(lines[i], absl::MaxSplits(": ", 1));
      response.headers[absl::AsciiStrToLower(field.first)] = field.second;
    }
    return response;
  }
  // The next chunk; empty at the end.
  std::string ReadChunk() {
    const std::string size_line = ReadUntil("\r\n");
    if (size_line.empty()) return "";
    std::string chunk = ReadExactly(std::stoul(size_line, nullptr, 16));
    ReadExactly(2);
    return chunk;
  }
  // All chunks up to the end.
  std::string ReadChunks() {
    std::string all;
    for (std::string chunk = ReadChunk(); !chunk.empty(); chunk = ReadChunk()) all += chunk;
    return all;
  }
  Response ReadResponse() {
    Response response = ReadHeader();
    if (response.headers.count("transfer-encoding") > 0) {
      response.body = ReadChunks();
    } else if (response.headers.count("content-length") > 0) {
      response.body = ReadExactly(std::stoul(response.headers["content-length"]));
    }
    return response;
  }
  Response Send(absl::string_view method, absl::string_view path, absl::string_view body = "",
                absl::string_view headers = "") {
    Write(RequestText(method, path, body, headers));
    return ReadResponse();
  }
  static std::string RequestText(absl::string_view method, absl::string_view path,
                                 absl::string_view body, absl::string_view headers = "") {
    return absl::StrCat(method, " ", path, " HTTP/1.1\r\nHost: x\r\n", headers,
                        "Content-Length: ", body.size(), "\r\n\r\n", body);
  }
  void Close() { socket_.close(); }

 private:
  boost::asio::io_context context_;
  boost::asio::ip::tcp::socket socket_;
  boost::asio::streambuf buffer_;
};

// The JSON of each event of a stream, without the end mark, which it must have.
inline std::vector<boost::json::value> Events(const std::string& body) {
  std::vector<boost::json::value> events;
  bool done = false;
  for (absl::string_view line : absl::StrSplit(body, "\n\n", absl::SkipEmpty())) {
    if (!absl::ConsumePrefix(&line, "data: ")) continue;
    done = line == "[DONE]";
    if (!done) events.push_back(boost::json::parse({line.data(), line.size()}));
  }
  EXPECT_TRUE(done) << body;
  return events;
}

// The contents of the deltas of one choice, put together.
inline std::string Content(const std::vector<boost::json::value>& events,
                           const char* name = "content", int index = 0) {
  std::string text;
  for (const boost::json::value& event : events) {
    for (const boost::json::value& choice : event.at("choices").as_array()) {
      if (choice.at("index") != index) continue;
      const boost::json::value* piece = choice.at("delta").as_object().if_contains(name);
      if (piece != nullptr && piece->is_string()) text += piece->as_string().c_str();
    }
  }
  return text;
}

inline std::string ChatBody(absl::string_view fields = "") {
  return absl::StrCat(R"({"messages":[{"role":"user","content":"Hi"}])", fields.empty() ? "" : ",",
                      fields, "}");
}

class RouterTest : public ::testing::Test {
 protected:
  // An answer with a thought, a text and a call of `f`.
  static constexpr char kThinkAndCall[] =
      "<|channel>thought\nHm.<channel|>Now:<|tool_call>call:f{a:<|\"|>x<|\"|>}<tool_call|>"
      "<|tool_response>";
  static constexpr char kAnswer[] = "Hello, the world.";

  std::unique_ptr<FakeWorker> StartWorker(absl::string_view model = "small",
                                          std::string address = "127.0.0.1:0",
                                          const std::string& numerics_class = "fake",
                                          std::map<std::string, std::string> adapters = {}) {
    FakeWorker::Options options;
    options.address = std::move(address);
    options.description = SmallDescription(model);
    options.description.set_numerics_class(numerics_class);
    options.description.set_full_page_bytes(page_bytes_);
    options.description.set_sliding_page_bytes(page_bytes_);
    options.description.set_running_requests_max(running_requests_max_);
    options.hold_after = hold_after_;
    options.ask_for_media = true;
    options.adapters = std::move(adapters);
    options.answer = [this](const v1::GenerateRequest& request) {
      absl::MutexLock lock(&mutex_);
      return answer_ ? answer_(request)
                     : FakeWorker::Answer{SmallIds(absl::StrCat(kAnswer, "<turn|>"))};
    };
    auto worker = FakeWorker::Start(std::move(options));
    CHECK_OK(worker);
    return *std::move(worker);
  }

  // Starts two workers and a router, and waits until it sees both.
  void StartAll(int workers = 2) {
    for (int i = 0; i < workers; ++i) workers_.push_back(StartWorker());
    std::vector<std::string> addresses;
    for (const auto& worker : workers_) addresses.push_back(worker->address());
    StartRouter(addresses);
    for (const std::string& address : addresses) AwaitWorker(address, true);
  }
  void StartRouter(std::vector<std::string> addresses) {
    options_.workers = std::move(addresses);
    options_.http.host = "127.0.0.1";
    auto router = Router::Start(options_);
    CHECK_OK(router);
    router_ = *std::move(router);
  }

  // For requests that go to any worker: holds all back after `tokens` tokens...
  void HoldAll(size_t tokens) {
    for (const auto& worker : workers_) worker->HoldAfter(tokens);
  }
  // ...and waits until one of those from `first` on runs something, which becomes that of number
  // `first`.
  void AwaitBusy(size_t first = 0) {
    for (;;) {
      for (size_t i = first; i < workers_.size(); ++i) {
        if (workers_[i]->running() > 0) return std::swap(workers_[first], workers_[i]);
      }
      std::this_thread::yield();
    }
  }
  void ReleaseAllBut(size_t held) {
    for (size_t i = 0; i < workers_.size(); ++i) {
      if (i != held) workers_[i]->Release();
    }
  }

  void SetAnswer(FakeWorker::AnswerFunction answer) {
    absl::MutexLock lock(&mutex_);
    answer_ = std::move(answer);
  }
  void SetAnswerText(const std::string& text) {
    SetAnswer([text](const v1::GenerateRequest&) { return FakeWorker::Answer{SmallIds(text)}; });
  }

  Client Connect() { return Client(router_->http_port()); }
  Response Get(absl::string_view path) { return Connect().Send("GET", path); }
  Response Post(absl::string_view path, absl::string_view body) {
    return Connect().Send("POST", path, body);
  }
  Response Chat(absl::string_view fields = "") {
    return Post("/v1/chat/completions", ChatBody(fields));
  }
  // The events of an answer whose only worker fails after its first tokens.
  std::string BrokenStream(absl::string_view path, absl::string_view body) {
    SetAnswer([](const v1::GenerateRequest&) {
      return FakeWorker::Answer{SmallIds("ab"), v1::FINISH_REASON_ERROR, "broken",
                                v1::ERROR_KIND_INTERNAL};
    });
    workers_.at(0)->HoldAfter(1);
    Client client = Connect();
    client.Write(Client::RequestText("POST", path, body));
    EXPECT_EQ(client.ReadHeader().status, 200);
    std::string events = client.ReadChunk();
    workers_.at(0)->Release();
    for (std::string chunk = client.ReadChunk(); !chunk.empty(); chunk = client.ReadChunk()) {
      events += chunk;
    }
    return events;
  }
  // The prompt that the only worker saw last.
  std::string LastPrompt() {
    const v1::GenerateRequest request = workers_.at(0)->requests().back();
    return SmallText({request.prompt_tokens().begin(), request.prompt_tokens().end()});
  }
  std::string Metrics() { return Get("/metrics").body; }
  // Asks until the metrics hold `line`; the test's own time limit ends it otherwise.
  void AwaitMetric(const std::string& line) {
    while (!absl::StrContains(Metrics(), line)) std::this_thread::yield();
  }
  void AwaitWorker(const std::string& address, bool up) {
    AwaitMetric(absl::StrCat("facet_worker_up{worker=\"", address, "\"} ", up ? 1 : 0, "\n"));
  }

  RouterOptions options_;
  uint64_t page_bytes_ =
      0;  // Of workers that start: of the pages that they pull; 0: they pull none.
  uint32_t running_requests_max_ = 64;  // Of workers that are started from now on.
  size_t hold_after_ =
      std::numeric_limits<size_t>::max();  // Of workers that are started from now on.
  absl::Mutex mutex_;
  FakeWorker::AnswerFunction answer_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::unique_ptr<FakeWorker>> workers_;
  std::unique_ptr<Router> router_;  // Ends before the workers.
};

}  // namespace facet::testing

#endif  // FACET_TESTS_ROUTER_FIXTURE_H_
