// Pictures, sounds and videos from HTTP to a real engine, on a tiny random model of which
// transformers computed what it says to them (tests/testdata/golden).

#include <grpcpp/grpcpp.h>

#include <boost/json.hpp>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/check.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/detokenizer.h"
#include "model/media/image_decoder.h"
#include "model/media/testing/test_media.h"
#include "router/router.h"
#include "tests/router_fixture.h"
#include "worker/describe.h"
#include "worker/engine.h"
#include "worker/engine_options.h"
#include "worker/loaded_model.h"
#include "worker/watch_board.h"
#include "worker/worker_service.h"

namespace facet {
namespace {

namespace json = boost::json;
using ::facet::testing::Client;
using ::facet::testing::ReadGolden;
using ::facet::testing::ReadMedia;
using ::facet::testing::Response;
using ::testing::HasSubstr;

constexpr char kGolden[] = "tests/testdata/golden/";

json::value GoldenJson(const std::string& name) { return json::parse(ReadGolden(name)); }

std::string DataUrl(const std::string& type, absl::string_view file) {
  return absl::StrCat("data:", type, ";base64,", absl::Base64Escape(file));
}

json::value ImagePart(absl::string_view file, int64_t tokens_max) {
  return {{"type", "image_url"},
          {"image_url", {{"url", DataUrl("image/png", file)}, {"max_soft_tokens", tokens_max}}}};
}

json::value AudioPart(absl::string_view file) {
  return {{"type", "input_audio"},
          {"input_audio", {{"data", absl::Base64Escape(file)}, {"format", "wav"}}}};
}

json::value VideoPart(absl::string_view file) {
  return {{"type", "video_url"}, {"video_url", {{"url", DataUrl("video/mp4", file)}}}};
}

json::value TextPart(const std::string& text) { return {{"type", "text"}, {"text", text}}; }

// Pixels as a BMP file: rows from below, blue first.
std::string Bmp(int width, int height, absl::string_view rgb) {
  CHECK_EQ(width % 4, 0) << "rows would need padding";
  std::string file = "BM";
  const auto add = [&](uint32_t value, int bytes) {
    for (int i = 0; i < bytes; ++i) file.push_back(static_cast<char>(value >> 8 * i));
  };
  add(54 + width * height * 3, 4);
  add(0, 4);
  add(54, 4);
  add(40, 4);
  add(width, 4);
  add(height, 4);
  add(1, 2);
  add(24, 2);
  for (int i = 0; i < 6; ++i) add(0, 4);
  for (int y = height - 1; y >= 0; --y) {
    for (int x = 0; x < width; ++x) {
      for (int c = 2; c >= 0; --c) file.push_back(rgb[(y * width + x) * 3 + c]);
    }
  }
  return file;
}

// A worker in this process.
class TestWorker {
 public:
  TestWorker() {
    LoadOptions load;
    load.threads = 1;
    load.kv = {64 << 20, 1024, 8, 128};
    load.mmproj = absl::StrCat(kGolden, "mmproj.gguf");
    model_ =
        std::make_unique<LoadedModel>(LoadModel(absl::StrCat(kGolden, "model.gguf"), load).value());
    EngineOptions options = EngineOptionsFor(*model_);
    options.on_load = [this](const v1::Load& report) { board_.PostLoad(report); };
    engine_ = std::make_unique<Engine>(options, PartsOf(*model_));
    service_ = std::make_unique<WorkerService>(DescribeWorker(*model_, options, "tiny"),
                                               engine_.get(), &board_, model_->adapters.get(),
                                               PageServerOptions{.format = model_->page_format()});
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(service_.get());
    server_ = builder.BuildAndStart();
    engine_->Start();
  }
  ~TestWorker() { server_->Shutdown(absl::ToChronoTime(absl::Now())); }

  std::string address() const { return absl::StrCat("127.0.0.1:", port_); }
  const LoadedModel& model() const { return *model_; }

 private:
  std::unique_ptr<LoadedModel> model_;
  WatchBoard board_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<WorkerService> service_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

class MediaTest : public ::testing::Test {
 protected:
  void StartAll(int workers) {
    RouterOptions options;
    for (int i = 0; i < workers; ++i) {
      workers_.push_back(std::make_unique<TestWorker>());
      options.workers.push_back(workers_.back()->address());
    }
    options.http.host = "127.0.0.1";
    auto router = Router::Start(options);
    CHECK_OK(router);
    router_ = *std::move(router);
    for (const auto& worker : workers_) {
      const std::string line =
          absl::StrCat("facet_worker_up{worker=\"", worker->address(), "\"} 1\n");
      while (!absl::StrContains(Metrics(), line)) std::this_thread::yield();
    }
  }

  std::string Metrics() { return Client(router_->http_port()).Send("GET", "/metrics").body; }
  double MediaBytesSent() {
    const std::string metrics = Metrics(), name = "\nfacet_media_bytes_sent_total ";
    const size_t at = metrics.find(name);
    CHECK(at != std::string::npos);
    return std::stod(metrics.substr(at + name.size()));
  }
  Response Post(absl::string_view path, const json::object& body) {
    return Client(router_->http_port()).Send("POST", path, json::serialize(body));
  }

  // The texts of all answers, greedy and of 16 tokens.
  std::vector<std::string> Complete(const json::value& prompt, const json::array& media,
                                    int choices = 1, bool stream = false) {
    json::object body{{"prompt", prompt}, {"media", media},     {"max_tokens", 16}, {"n", choices},
                      {"temperature", 0}, {"ignore_eos", true}, {"stream", stream}};
    const Response response = Post("/v1/completions", body);
    EXPECT_EQ(response.status, 200) << response.body;
    std::vector<std::string> texts(choices);
    if (response.status != 200) return texts;
    std::vector<json::value> objects;
    if (stream) {
      objects = testing::Events(response.body);
    } else {
      objects.push_back(response.Json());
    }
    for (const json::value& object : objects) {
      for (const json::value& choice : object.at("choices").as_array()) {
        texts[choice.at("index").as_int64()] += choice.at("text").as_string().c_str();
      }
    }
    return texts;
  }

  // What a router says for these ids.
  std::string TextOf(const json::value& ids) {
    Detokenizer detokenizer(workers_[0]->model().vocabulary, /*skip_special=*/true);
    std::string text;
    for (const json::value& id : ids.as_array()) {
      text += detokenizer.Add(static_cast<int>(id.as_int64()));
    }
    return text + detokenizer.Finish();
  }

  json::object ChatBody(json::array content) {
    return {{"messages", {{{"role", "user"}, {"content", std::move(content)}}}},
            {"max_tokens", 16},
            {"temperature", 0},
            {"ignore_eos", true}};
  }

  std::vector<std::unique_ptr<TestWorker>> workers_;
  std::unique_ptr<Router> router_;  // Ends before the workers.
};

// Given each golden prompt with pictures and sounds, as ids and files, expect what the reference
// generates: from either of two workers, streamed or not.
TEST_F(MediaTest, GoldenAnswers) {
  StartAll(2);
  const json::value images = GoldenJson("image.json").at("images");
  const json::value sounds = GoldenJson("audio.json").at("sounds");
  int compared = 0;
  for (const char* set : {"image.json", "audio.json"}) {
    const json::value golden = GoldenJson(set);
    for (const json::value& prompt : golden.at("prompts").as_array()) {
      json::array media;
      for (const json::value& i : prompt.at("images").as_array()) {
        const json::value& image = images.at(i.as_int64());
        media.push_back(ImagePart(ReadGolden(std::string(image.at("file").as_string())),
                                  image.at("max_soft_tokens").as_int64()));
      }
      if (const json::value* list = prompt.as_object().if_contains("sounds")) {
        for (const json::value& i : list->as_array()) {
          media.push_back(
              AudioPart(ReadGolden(std::string(sounds.at(i.as_int64()).at("file").as_string()))));
        }
      }
      const std::string expected = TextOf(prompt.at("greedy"));
      const char* name = prompt.at("name").as_string().c_str();
      // Two answers at once go to the two workers.
      for (const bool stream : {false, true}) {
        for (const std::string& text : Complete(prompt.at("ids"), media, 2, stream)) {
          EXPECT_EQ(text, expected) << name;
          ++compared;
        }
      }
    }
  }
  EXPECT_GE(compared, 40);
  for (const auto& worker : workers_) {
    EXPECT_THAT(Metrics(), HasSubstr(worker->address()));
  }
}

// Given the frames of the golden clip as pictures among its timestamps, expect what the reference
// generates.
TEST_F(MediaTest, GoldenVideo) {
  StartAll(1);
  const json::value video = GoldenJson("video.json");
  const RgbImage stacked = DecodeImage(ReadGolden("media/video_frames.png")).value();
  const int64_t height = video.at("frame_height").as_int64();
  const int64_t frame_bytes = int64_t{stacked.width} * height * 3;
  json::array media;
  for (const json::value& index : video.at("indices").as_array()) {
    const absl::string_view rgb(
        reinterpret_cast<const char*>(stacked.rgb.data()) + index.as_int64() * frame_bytes,
        frame_bytes);
    media.push_back(ImagePart(Bmp(stacked.width, static_cast<int>(height), rgb), 70));
  }
  const json::value& prompt = video.at("prompt");
  EXPECT_EQ(Complete(prompt.at("ids"), media)[0], TextOf(prompt.at("greedy")));
}

// Given a chat with all kinds of media, expect the placeholders where the template has them, and
// the answer that the same ids and media get without a template.
TEST_F(MediaTest, ChatsAreTheirIds) {
  StartAll(1);
  const json::value picture = ImagePart(ReadGolden("media/image0.png"), 70);
  const json::value sound = AudioPart(ReadGolden("media/sound0.wav"));
  const json::value clip = VideoPart(ReadMedia("h264.mp4"));
  json::object body = ChatBody({picture, TextPart("Look"), clip, TextPart("and listen"), sound});
  const Response tokenized = Post("/tokenize", body);
  ASSERT_EQ(tokenized.status, 200) << tokenized.body;
  const json::value ids = tokenized.Json().at("tokens");
  int soft[3] = {};
  for (const json::value& id : ids.as_array()) {
    for (int kind = 0; kind < 3; ++kind) soft[kind] += id == json::array{2042, 2043, 2046}[kind];
  }
  EXPECT_EQ(soft[0], 63);
  EXPECT_EQ(soft[1], 33);
  EXPECT_GT(soft[2], 0);
  const Response chat = Post("/v1/chat/completions", body);
  ASSERT_EQ(chat.status, 200) << chat.body;
  EXPECT_EQ(chat.Json().at("usage").at("prompt_tokens"), ids.as_array().size());
  // The answer's channels are not told apart in a completion, so the chat's parts are put together.
  const json::value message = chat.Json().at("choices").at(0).at("message");
  const std::string content =
      message.at("content").is_null() ? "" : std::string(message.at("content").as_string());
  EXPECT_EQ(Complete(ids, {picture, clip, sound})[0], content);
}

// Given a chat again, expect its cached pages to serve it, and no picture to be sent a second time;
// the answer is the same, as it is from a worker that has nothing.
TEST_F(MediaTest, CachedPicturesAreNotSentAgain) {
  StartAll(1);
  const json::value picture = ImagePart(ReadGolden("media/image4.png"), 70);
  const json::object body = ChatBody({picture, TextPart(std::string(200, 'x'))});
  const Response first = Post("/v1/chat/completions", body);
  ASSERT_EQ(first.status, 200) << first.body;
  const double sent = MediaBytesSent();
  EXPECT_EQ(sent, 70 * 48 * 48 * 3);
  const Response second = Post("/v1/chat/completions", body);
  ASSERT_EQ(second.status, 200) << second.body;
  EXPECT_EQ(MediaBytesSent(), sent);
  EXPECT_EQ(second.Json().at("choices"), first.Json().at("choices"));
  EXPECT_GE(
      second.Json().at("usage").at("prompt_tokens_details").at("cached_tokens").to_number<int>(),
      128);
  // Another picture of the same size under the same text is another prompt.
  std::string other = ReadGolden("media/image0.png");
  const Response third = Post("/v1/chat/completions",
                              ChatBody({ImagePart(other, 70), TextPart(std::string(200, 'x'))}));
  ASSERT_EQ(third.status, 200) << third.body;
  EXPECT_GT(MediaBytesSent(), sent);
}

// A form of a sound and more fields.
std::string TranscriptionForm(const std::string& file,
                              const std::vector<std::pair<std::string, std::string>>& fields) {
  std::string body = absl::StrCat(
      "--xyz\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\r\n", file,
      "\r\n");
  for (const auto& [name, value] : fields) {
    absl::StrAppend(&body, "--xyz\r\nContent-Disposition: form-data; name=\"", name, "\"\r\n\r\n",
                    value, "\r\n");
  }
  return body + "--xyz--\r\n";
}

// Given a prompt with a picture of which log probabilities are asked, expect a 400 that says so.
TEST_F(MediaTest, NoLogprobsOfPrompts) {
  StartAll(1);
  json::object body = ChatBody({ImagePart(ReadGolden("media/image0.png"), 70)});
  body["prompt_logprobs"] = 1;
  const Response response = Post("/v1/chat/completions", body);
  EXPECT_EQ(response.status, 400);
  EXPECT_EQ(response.Json().at("error").at("param"), "prompt_logprobs");
}

// Given a sound to transcribe, expect what the same sound and instruction get in a chat, in every
// form.
TEST_F(MediaTest, Transcriptions) {
  StartAll(1);
  const std::string sound = ReadGolden("media/sound0.wav");
  json::object chat = ChatBody({TextPart("Transcribe the audio."), AudioPart(sound)});
  chat.erase("ignore_eos");
  chat.erase("max_tokens");
  const json::value answer = Post("/v1/chat/completions", chat).Json();
  const std::string expected(answer.at("choices").at(0).at("message").at("content").as_string());
  const auto transcribe = [&](const std::vector<std::pair<std::string, std::string>>& fields) {
    return Client(router_->http_port())
        .Send("POST", "/v1/audio/transcriptions", TranscriptionForm(sound, fields),
              "Content-Type: multipart/form-data; boundary=xyz\r\n");
  };
  const Response plain = transcribe({});
  ASSERT_EQ(plain.status, 200) << plain.body;
  EXPECT_EQ(plain.Json().at("text"), json::string(expected));
  EXPECT_EQ(plain.Json().at("usage").at("input_tokens"), answer.at("usage").at("prompt_tokens"));
  const Response text = transcribe({{"response_format", "text"}});
  EXPECT_EQ(text.body, expected + "\n");
  EXPECT_THAT(text.headers.at("content-type"), HasSubstr("text/plain"));
  const json::value verbose = transcribe({{"response_format", "verbose_json"}}).Json();
  EXPECT_EQ(verbose.at("text"), json::string(expected));
  // 20,800 samples are 32.5 tokens of 40 ms.
  EXPECT_DOUBLE_EQ(verbose.at("duration").to_number<double>(), 33 * 0.04);
  EXPECT_EQ(verbose.at("segments").at(0).at("text"), json::string(expected));
  const Response stream = transcribe({{"stream", "true"}});
  EXPECT_EQ(stream.status, 200) << stream.body;
  std::string deltas, done;
  for (absl::string_view event : absl::StrSplit(stream.body, "\n\n", absl::SkipEmpty())) {
    if (!absl::ConsumePrefix(&event, "data: ")) continue;
    const json::value data = json::parse({event.data(), event.size()});
    if (data.at("type") == "transcript.text.delta") deltas += data.at("delta").as_string().c_str();
    if (data.at("type") == "transcript.text.done") done = data.at("text").as_string().c_str();
  }
  EXPECT_EQ(deltas, expected);
  EXPECT_EQ(done, expected);
  const Response bad = transcribe({{"prompt", "what is <|audio|>?"}});
  EXPECT_EQ(bad.status, 400);
  EXPECT_EQ(bad.Json().at("error").at("param"), "prompt") << bad.body;
}

// Given a picture in the forms of the Messages and Responses API, expect the prompt that a chat
// has.
TEST_F(MediaTest, OtherFormsOfPictures) {
  StartAll(1);
  const std::string png = ReadGolden("media/image0.png");
  const Response chat = Post(
      "/v1/chat/completions",
      ChatBody(
          {json::value{{"type", "image_url"}, {"image_url", {{"url", DataUrl("image/png", png)}}}},
           TextPart("Hi")}));
  ASSERT_EQ(chat.status, 200) << chat.body;
  const json::value tokens = chat.Json().at("usage").at("prompt_tokens");
  const json::value source{
      {"type", "base64"}, {"media_type", "image/png"}, {"data", absl::Base64Escape(png)}};
  json::object messages =
      ChatBody({json::value{{"type", "image"}, {"source", source}}, TextPart("Hi")});
  const Response counted = Post("/v1/messages/count_tokens", messages);
  ASSERT_EQ(counted.status, 200) << counted.body;
  EXPECT_EQ(counted.Json().at("input_tokens"), tokens);
  const Response message = Post("/v1/messages", messages);
  EXPECT_EQ(message.status, 200) << message.body;
  const json::array content{
      {{"type", "input_image"}, {"image_url", DataUrl("image/png", png)}, {"detail", "auto"}},
      {{"type", "input_text"}, {"text", "Hi"}}};
  const Response responses =
      Post("/v1/responses",
           {{"input", {{{"role", "user"}, {"content", content}}}}, {"max_output_tokens", 4}});
  ASSERT_EQ(responses.status, 200) << responses.body;
  EXPECT_EQ(responses.Json().at("usage").at("input_tokens"), tokens);
  // An error names what the client wrote.
  messages = ChatBody({json::value{
      {"type", "image"},
      {"source", {{"type", "base64"}, {"media_type", "image/png"}, {"data", "QUJD"}}}}});
  const Response bad = Post("/v1/messages", messages);
  EXPECT_EQ(bad.status, 400);
  EXPECT_THAT(bad.body, HasSubstr("messages[0].content[0].source"));
}

// Given files that are broken, too large or misplaced, expect a 400 that names the field.
TEST_F(MediaTest, BadMediaAreRefused) {
  StartAll(1);
  const std::string png = ReadGolden("media/image0.png");
  json::value not_base64 = ImagePart(png, 70);
  not_base64.at("image_url").at("url") = "data:image/png;base64,%%%";
  json::value remote = ImagePart(png, 70);
  remote.at("image_url").at("url") = "https://example.com/x.png";
  const struct {
    json::array content;
    const char *param, *what;
  } kCases[] = {
      {{ImagePart(png.substr(0, 100), 70)}, "messages[0].content[0].image_url.url", "PNG"},
      {{ImagePart("no picture", 70)}, "messages[0].content[0].image_url.url", "image"},
      {{not_base64}, "messages[0].content[0].image_url.url", "base64"},
      {{remote}, "messages[0].content[0].image_url.url", "fetches no addresses"},
      {{AudioPart(ReadMedia("over_thirty_seconds.flac"))},
       "messages[0].content[0].input_audio.data",
       "30 s"},
      {{AudioPart(ReadMedia("no_samples.wav"))},
       "messages[0].content[0].input_audio.data",
       "audio"},
      {{VideoPart(ReadMedia("over_sixty_seconds.mp4"))},
       "messages[0].content[0].video_url.url",
       "60"},
      {{VideoPart(ReadMedia("no_video.mp4"))}, "messages[0].content[0].video_url.url", "video"},
      {{ImagePart(png, 70), TextPart("what is <|image|>?")}, "messages", "placeholder"},
  };
  for (const auto& c : kCases) {
    const Response response = Post("/v1/chat/completions", ChatBody(c.content));
    EXPECT_EQ(response.status, 400) << response.body;
    const json::value error = response.Json().at("error");
    EXPECT_EQ(error.at("param"), c.param) << response.body;
    EXPECT_THAT(std::string(error.at("message").as_string()), HasSubstr(c.what));
  }
}

}  // namespace
}  // namespace facet
