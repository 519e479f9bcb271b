#include "worker/worker_service.h"

#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/status_matchers.h"
#include "gmock/gmock.h"
#include "grpcpp/grpcpp.h"
#include "gtest/gtest.h"
#include "model/gguf.h"
#include "proto/page_key.h"
#include "worker/describe.h"
#include "worker/engine_options.h"
#include "worker/loaded_model.h"
#include "worker/media_item.h"

namespace facet {
namespace {

using ::testing::HasSubstr;

// A worker in this process on a tiny random model, behind a port that the kernel picks.
class WorkerServiceTest : public ::testing::Test {
 protected:
  WorkerServiceTest() {
    LoadOptions load;
    load.threads = 2;
    load.kv = {64 << 20, 1024, 8, 64};
    load.mmproj = "tests/testdata/golden/mmproj.gguf";
    model_ =
        std::make_unique<LoadedModel>(LoadModel("tests/testdata/golden/model.gguf", load).value());
    EngineOptions options = EngineOptionsFor(*model_);
    options.on_load = [this](const v1::Load& load) { board_.PostLoad(load); };
    model_->ObservePages([this](const PageEvent& event) { board_.PostPage(event); });
    engine_ = std::make_unique<Engine>(options, PartsOf(*model_));
    service_ =
        std::make_unique<WorkerService>(DescribeWorker(*model_, options, "tiny"), engine_.get(),
                                        &board_, model_->adapters.get(), PageServerOptions{model_->page_format()});
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(service_.get());
    server_ = builder.BuildAndStart();
    engine_->Start();
    grpc::ChannelArguments arguments;
    arguments.SetMaxReceiveMessageSize(64 << 20);
    stub_ = v1::Worker::NewStub(grpc::CreateCustomChannel(
        "127.0.0.1:" + std::to_string(port), grpc::InsecureChannelCredentials(), arguments));
  }
  ~WorkerServiceTest() override { server_->Shutdown(absl::ToChronoTime(absl::Now())); }

  static v1::GenerateRequest Request(uint32_t tokens_max) {
    v1::GenerateRequest request;
    for (const uint32_t id : {2, 300, 410}) request.add_prompt_tokens(id);
    request.set_tokens_max(tokens_max);
    return request;
  }

  // Reads Watch until nothing runs or waits. False after `limit`.
  bool WaitUntilIdle(absl::Duration limit) {
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(absl::Now() + limit));
    const auto reader = stub_->Watch(&context, {});
    v1::WatchReply reply;
    while (reader->Read(&reply)) {
      EXPECT_EQ(reply.sequence(), ++watch_sequence_);
      const v1::Load& load = reply.load();
      if (load.running_requests() == 0 && load.waiting_requests() == 0 &&
          load.full_pages_free() == load.full_pages_total() && load.full_pages_total() > 0) {
        context.TryCancel();
        watch_sequence_ = 0;
        return true;
      }
    }
    return false;
  }

  std::unique_ptr<LoadedModel> model_;
  WatchBoard board_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<WorkerService> service_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<v1::Worker::Stub> stub_;
  uint64_t watch_sequence_ = 0;
};

// Given Describe, expect the model's metadata as a GGUF file that reads back.
TEST_F(WorkerServiceTest, DescribesTheModel) {
  grpc::ClientContext context;
  v1::DescribeReply reply;
  ASSERT_TRUE(stub_->Describe(&context, {}, &reply).ok());
  EXPECT_EQ(reply.model_name(), "tiny");
  EXPECT_EQ(reply.model_digest().size(), 32);
  EXPECT_EQ(reply.page_tokens(), 64);
  EXPECT_EQ(reply.context_tokens_max(), 1024);
  ASSERT_OK_AND_ASSIGN(const GgufHeader header, ParseGguf(reply.metadata_gguf()));
  EXPECT_EQ(header.metadata.values(), model_->file->metadata().values());
}

// Given adapters that come and go, expect watchers to hear of each, requests to find them, and
// every refusal to say why.
TEST_F(WorkerServiceTest, LoadsAndUnloadsAdapters) {
  ObserveAdapters(*model_->adapters, board_);
  grpc::ClientContext watching;
  const auto reader = stub_->Watch(&watching, {});
  v1::WatchReply reply;
  const auto await_adapters = [&](const std::vector<std::string>& names) {
    while (reader->Read(&reply)) {
      std::vector<std::string> heard;
      for (const v1::AdapterInfo& info : reply.load().adapters()) heard.push_back(info.name());
      if (heard == names) return true;
    }
    return false;
  };
  const auto load = [&](const std::string& name, const std::string& path) {
    grpc::ClientContext context;
    v1::LoadAdapterRequest request;
    request.set_name(name);
    request.set_path(path);
    v1::LoadAdapterReply ignored;
    return stub_->LoadAdapter(&context, request, &ignored);
  };
  const auto unload = [&](const std::string& name) {
    grpc::ClientContext context;
    v1::UnloadAdapterRequest request;
    request.set_name(name);
    v1::UnloadAdapterReply ignored;
    return stub_->UnloadAdapter(&context, request, &ignored);
  };
  const std::string path = "tests/testdata/golden/lora";
  EXPECT_TRUE(await_adapters({}));
  EXPECT_TRUE(load("b", path).ok());
  EXPECT_TRUE(await_adapters({"b"}));
  EXPECT_EQ(reply.load().adapters(0).digest(), model_->adapters->Find("b")->digest);
  EXPECT_EQ(reply.load().adapters(0).rank_max(), 4u);
  EXPECT_TRUE(load("a", path + ".gguf").ok());
  EXPECT_TRUE(await_adapters({"a", "b"}));

  v1::GenerateRequest request = Request(5);
  request.set_adapter("b");
  grpc::ClientContext context;
  const auto answer = stub_->Generate(&context, request);
  v1::GenerateReply last;
  for (v1::GenerateReply next; answer->Read(&next);) last = next;
  EXPECT_EQ(last.finish_reason(), v1::FINISH_REASON_LENGTH);
  // The engine's own loads keep the adapters.
  EXPECT_TRUE(unload("b").ok());
  EXPECT_TRUE(await_adapters({"a"}));

  EXPECT_EQ(unload("b").error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(load("c", "nowhere").error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_THAT(load("c", "nowhere").error_message(), HasSubstr("nowhere"));
  EXPECT_EQ(load("c/d", path).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(load("c", "tests/testdata/golden/model.gguf").error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
  watching.TryCancel();
}

// Given a single request, expect its tokens one reply a step, and the reason in the last.
TEST_F(WorkerServiceTest, GeneratesOneRequest) {
  grpc::ClientContext context;
  const auto reader = stub_->Generate(&context, Request(5));
  v1::GenerateReply reply;
  int tokens = 0;
  while (reader->Read(&reply)) tokens += reply.tokens_size();
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_EQ(tokens, 5);
  EXPECT_EQ(reply.finish_reason(), v1::FINISH_REASON_LENGTH);
  EXPECT_EQ(reply.ledger().generated_tokens(), 5);
}

// Given a prompt of two pages, expect a watcher to hear of both, in both pools, under the keys that
// a router computes; and one that comes later to get them at once.
TEST_F(WorkerServiceTest, TellsItsCachedPages) {
  v1::GenerateRequest request = Request(2);
  std::vector<int32_t> ids;
  for (int i = 0; i < 150; ++i) ids.push_back(300 + i % 97);
  request.mutable_prompt_tokens()->Assign(ids.begin(), ids.end());
  const PageKey first = NextPageKey(RootPageKey(""), absl::MakeSpan(ids).first(64));
  const PageKey second = NextPageKey(first, absl::MakeSpan(ids).subspan(64, 64), 64);
  std::vector<PageEvent> expected;
  for (const PageKey& key : {first, second}) {
    for (const bool sliding : {false, true}) expected.push_back({key, sliding});
  }
  // Reads until all have come.
  const auto read_all = [&](grpc::ClientReader<v1::WatchReply>& reader) {
    std::vector<PageEvent> heard;
    v1::WatchReply reply;
    while (heard.size() < expected.size() && reader.Read(&reply)) {
      const auto events = ParsePageEvents(reply.page_events());
      ASSERT_OK(events);
      heard.insert(heard.end(), events->begin(), events->end());
    }
    EXPECT_THAT(heard, ::testing::UnorderedElementsAreArray(expected));
  };
  grpc::ClientContext early, generation, late;
  const auto watch = stub_->Watch(&early, {});
  const auto reader = stub_->Generate(&generation, request);
  v1::GenerateReply reply;
  while (reader->Read(&reply)) {
  }
  EXPECT_TRUE(reader->Finish().ok());
  read_all(*watch);
  const auto later_watch = stub_->Watch(&late, {});
  read_all(*later_watch);
  early.TryCancel();
  late.TryCancel();
}

// Given a bad request, expect a reply that names the field rather than a broken call.
TEST_F(WorkerServiceTest, RefusesABadRequest) {
  grpc::ClientContext context;
  const auto reader = stub_->Generate(&context, Request(0));
  v1::GenerateReply reply;
  ASSERT_TRUE(reader->Read(&reply));
  EXPECT_EQ(reply.finish_reason(), v1::FINISH_REASON_ERROR);
  EXPECT_EQ(reply.error_kind(), v1::ERROR_KIND_INVALID_ARGUMENT);
  EXPECT_THAT(reply.error(), HasSubstr("tokens_max"));
}

// Given a session with two requests of which one is cancelled, expect both to end, each for its
// reason, and the session to end when the router says so.
TEST_F(WorkerServiceTest, RunsASession) {
  grpc::ClientContext context;
  const auto session = stub_->Session(&context);
  for (const uint64_t id : {7, 8}) {
    v1::SessionRequest request;
    request.mutable_start()->set_stream_id(id);
    *request.mutable_start()->mutable_request() = Request(id == 7 ? 900 : 20);
    ASSERT_TRUE(session->Write(request));
  }
  v1::SessionRequest cancel;
  cancel.mutable_cancel()->set_stream_id(7);
  ASSERT_TRUE(session->Write(cancel));
  v1::SessionReply reply;
  int ended = 0, tokens = 0;
  while (ended < 2 && session->Read(&reply)) {
    for (const auto& output : reply.outputs()) {
      if (output.stream_id() == 8) tokens += output.reply().tokens_size();
      if (output.reply().finish_reason() == v1::FINISH_REASON_UNSPECIFIED) continue;
      ++ended;
      EXPECT_EQ(output.reply().finish_reason(),
                output.stream_id() == 7 ? v1::FINISH_REASON_CANCELLED : v1::FINISH_REASON_LENGTH);
    }
  }
  EXPECT_EQ(ended, 2);
  EXPECT_EQ(tokens, 20);
  session->WritesDone();
  EXPECT_FALSE(session->Read(&reply));
  EXPECT_TRUE(session->Finish().ok());
}

// Given a router that vanishes in mid-stream, expect its requests to end and their pages to come
// back.
TEST_F(WorkerServiceTest, FreesWhatAVanishedRouterLeft) {
  grpc::ClientContext context;
  const auto session = stub_->Session(&context);
  for (uint64_t id = 1; id <= 4; ++id) {
    v1::SessionRequest request;
    request.mutable_start()->set_stream_id(id);
    *request.mutable_start()->mutable_request() = Request(900);
    ASSERT_TRUE(session->Write(request));
  }
  v1::SessionReply reply;
  ASSERT_TRUE(session->Read(&reply));
  context.TryCancel();
  EXPECT_TRUE(WaitUntilIdle(absl::Seconds(20)));
}

// Given many calls whose clients go away while the engine goes on computing for them, expect each
// to end, and a later one to be served.
TEST_F(WorkerServiceTest, OutlivesClientsThatGoAway) {
  constexpr int kClients = 4;
  std::vector<std::thread> clients;
  clients.reserve(kClients);
  for (int client = 0; client < kClients; ++client) {
    clients.emplace_back([&] {
      for (int call = 0; call < 50; ++call) {
        grpc::ClientContext context;
        const auto reader = stub_->Generate(&context, Request(900));
        v1::GenerateReply reply;
        for (int i = 0; i < 1 + call % 7; ++i) EXPECT_TRUE(reader->Read(&reply));
        context.TryCancel();
        EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
      }
    });
  }
  for (std::thread& client : clients) client.join();
  EXPECT_TRUE(WaitUntilIdle(absl::Seconds(20)));
  grpc::ClientContext context;
  const auto reader = stub_->Generate(&context, Request(5));
  v1::GenerateReply reply;
  while (reader->Read(&reply)) continue;
  EXPECT_EQ(reply.finish_reason(), v1::FINISH_REASON_LENGTH);
}

// A request with a picture of 7 x 9 patches and a sound of 30 frames, digests alone; `data` gets
// the bytes.
v1::GenerateRequest MediaRequest(std::vector<std::string>* data) {
  v1::GenerateRequest request;
  request.set_tokens_max(4);
  request.add_prompt_tokens(2);
  for (const auto kind : {v1::Media::IMAGE, v1::Media::AUDIO}) {
    const bool image = kind == v1::Media::IMAGE;
    v1::Media& media = *request.add_media();
    media.set_kind(kind);
    media.set_first_token(request.prompt_tokens_size());
    media.set_tokens(image ? 63 : 30);
    if (image) media.set_grid_width(9);
    std::string& bytes = data->emplace_back();
    for (int64_t i = 0; i < MediaBytes(media); ++i) bytes.push_back(static_cast<char>(i * 7));
    const MediaDigest digest = DigestOfMedia(kind, media.grid_width(), bytes);
    media.set_digest(std::string(digest.begin(), digest.end()));
    for (uint32_t i = 0; i < media.tokens(); ++i) request.add_prompt_tokens(image ? 2042 : 2043);
  }
  for (int i = 0; i < 40; ++i) request.add_prompt_tokens(300 + i);
  return request;
}

class MediaSessionTest : public WorkerServiceTest {
 protected:
  using Session = grpc::ClientReaderWriter<v1::SessionRequest, v1::SessionReply>;

  void Start(Session& session, uint64_t id) {
    v1::SessionRequest message;
    message.mutable_start()->set_stream_id(id);
    *message.mutable_start()->mutable_request() = request_;
    ASSERT_TRUE(session.Write(message));
  }
  void SendItem(Session& session, uint64_t id, int index, const std::string& bytes) {
    for (size_t at = 0; at < bytes.size(); at += 100'000) {
      v1::SessionRequest message;
      v1::SessionRequest::MediaChunk& chunk = *message.mutable_media_chunk();
      chunk.set_stream_id(id);
      chunk.set_media(index);
      chunk.set_data(bytes.substr(at, 100'000));
      chunk.set_last(at + 100'000 >= bytes.size());
      ASSERT_TRUE(session.Write(message));
    }
  }
  // Reads until the stream ends; what was asked for on the way goes to `asked`.
  v1::GenerateReply ReadToEnd(Session& session, std::vector<uint32_t>* asked, bool answer) {
    v1::SessionReply reply;
    while (session.Read(&reply)) {
      for (const auto& need : reply.need_media()) {
        asked->insert(asked->end(), need.media().begin(), need.media().end());
        if (!answer) continue;
        for (const uint32_t index : need.media()) {
          SendItem(session, need.stream_id(), index, data_[index]);
        }
      }
      for (const auto& output : reply.outputs()) {
        for (const uint32_t token : output.reply().tokens()) tokens_.push_back(token);
        if (output.reply().finish_reason() != v1::FINISH_REASON_UNSPECIFIED) return output.reply();
      }
    }
    ADD_FAILURE() << "the session ended";
    return {};
  }

  std::vector<std::string> data_;
  v1::GenerateRequest request_ = MediaRequest(&data_);
  std::vector<uint32_t> tokens_;
};

// Given media by digest, expect the worker to ask for their data, to answer as if they had come
// with the request, and to ask again for no more than what its cached pages do not cover.
TEST_F(MediaSessionTest, AsksForWhatItsPagesLack) {
  grpc::ClientContext context;
  const auto session = stub_->Session(&context);
  std::vector<uint32_t> asked;
  Start(*session, 1);
  EXPECT_EQ(ReadToEnd(*session, &asked, true).finish_reason(), v1::FINISH_REASON_LENGTH);
  EXPECT_EQ(asked, (std::vector<uint32_t>{0, 1}));
  const std::vector<uint32_t> first = std::exchange(tokens_, {});
  // Again: 128 tokens are cached, all of both.
  asked.clear();
  Start(*session, 2);
  const v1::GenerateReply cached = ReadToEnd(*session, &asked, true);
  EXPECT_EQ(asked, std::vector<uint32_t>());
  EXPECT_EQ(cached.ledger().cached_tokens(), 128u);
  EXPECT_EQ(std::exchange(tokens_, {}), first);
  // Another sound after the same picture: only the sound is asked for, since the first page holds
  // the picture.
  data_[1][5] = 'y';
  const MediaDigest digest = DigestOfMedia(v1::Media::AUDIO, 0, data_[1]);
  request_.mutable_media(1)->set_digest(std::string(digest.begin(), digest.end()));
  Start(*session, 3);
  const v1::GenerateReply other = ReadToEnd(*session, &asked, true);
  EXPECT_EQ(asked, std::vector<uint32_t>{1});
  EXPECT_EQ(other.ledger().cached_tokens(), 64u);
  // Inline, without a session and under another salt, the same comes out.
  v1::GenerateRequest inline_request = request_;
  inline_request.set_cache_salt("other");
  for (int i : {0, 1}) inline_request.mutable_media(i)->set_data(data_[i]);
  grpc::ClientContext call;
  const auto reader = stub_->Generate(&call, inline_request);
  std::vector<uint32_t> alone;
  for (v1::GenerateReply reply; reader->Read(&reply);) {
    for (const uint32_t token : reply.tokens()) alone.push_back(token);
  }
  EXPECT_EQ(alone, tokens_);
}

// Given other bytes than the digest says, expect an error that names the field and ends the stream.
TEST_F(MediaSessionTest, RefusesOtherBytes) {
  grpc::ClientContext context;
  const auto session = stub_->Session(&context);
  data_[0][3] ^= 1;
  std::vector<uint32_t> asked;
  Start(*session, 1);
  const v1::GenerateReply reply = ReadToEnd(*session, &asked, true);
  EXPECT_EQ(reply.error_kind(), v1::ERROR_KIND_INVALID_ARGUMENT);
  EXPECT_THAT(reply.error(), HasSubstr("media[0].digest"));
}

// Given a stream that is cancelled while its media are awaited, expect it to end.
TEST_F(MediaSessionTest, EndsWhileItWaitsForMedia) {
  grpc::ClientContext context;
  const auto session = stub_->Session(&context);
  Start(*session, 1);
  v1::SessionReply reply;
  ASSERT_TRUE(session->Read(&reply));
  ASSERT_EQ(reply.need_media_size(), 1);
  v1::SessionRequest cancel;
  cancel.mutable_cancel()->set_stream_id(1);
  ASSERT_TRUE(session->Write(cancel));
  std::vector<uint32_t> asked;
  EXPECT_EQ(ReadToEnd(*session, &asked, false).finish_reason(), v1::FINISH_REASON_CANCELLED);
  EXPECT_TRUE(WaitUntilIdle(absl::Seconds(20)));
}

// Given a single call without its data, expect an error that names the field.
TEST_F(MediaSessionTest, SingleCallsBringTheirData) {
  grpc::ClientContext context;
  const auto reader = stub_->Generate(&context, request_);
  v1::GenerateReply reply;
  ASSERT_TRUE(reader->Read(&reply));
  EXPECT_EQ(reply.error_kind(), v1::ERROR_KIND_INVALID_ARGUMENT);
  EXPECT_THAT(reply.error(), HasSubstr("media[0].data"));
}

}  // namespace
}  // namespace facet
