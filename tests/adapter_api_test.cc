// LoRA adapters through the router: names, placement, loading, the folder of wanted ones. The
// workers have no model.

#include <boost/json.hpp>
#include <filesystem>
#include <map>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/testing/files.h"
#include "tests/fake_worker/fake_worker.h"
#include "tests/fake_worker/small_model.h"
#include "tests/router_fixture.h"

namespace facet {
namespace {

namespace json = boost::json;
namespace fs = std::filesystem;
using ::facet::testing::ChatBody;
using ::facet::testing::Client;
using ::facet::testing::Content;
using ::facet::testing::EmptyFolder;
using ::facet::testing::Events;
using ::facet::testing::FakeWorker;
using ::facet::testing::Response;
using ::facet::testing::RouterTest;
using ::facet::testing::WriteFile;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Key;
using ::testing::Pair;

class AdapterApiTest : public RouterTest {
 protected:
  using Adapters = std::map<std::string, std::string>;

  // A worker for each, with these adapters, and a router that sees them.
  void StartWith(const std::vector<Adapters>& adapters) {
    std::vector<std::string> addresses;
    for (const Adapters& held : adapters) {
      workers_.push_back(StartWorker("small", "127.0.0.1:0", "fake", held));
      addresses.push_back(workers_.back()->address());
    }
    StartRouter(addresses);
    for (const std::string& address : addresses) AwaitWorker(address, true);
  }
  Response Load(const std::string& name, const std::string& path) {
    return Post("/v1/load_lora_adapter",
                json::serialize(json::object{{"lora_name", name}, {"lora_path", path}}));
  }
  Response Unload(const std::string& name) {
    return Post("/v1/unload_lora_adapter", json::serialize(json::object{{"lora_name", name}}));
  }
  std::vector<std::string> ModelIds() {
    std::vector<std::string> ids;
    const json::value models = Get("/v1/models").Json();
    for (const json::value& model : models.at("data").as_array()) {
      ids.emplace_back(model.at("id").as_string());
    }
    return ids;
  }
  // Asks until worker `index` holds just these; the test's own time limit ends it otherwise.
  void AwaitAdapters(int index, const std::vector<std::string>& names) {
    const auto held = [&] {
      std::vector<std::string> now;
      for (const auto& [name, path] : workers_[index]->adapters()) now.push_back(name);
      return now;
    };
    while (held() != names) std::this_thread::yield();
  }
  // A folder that looks like PEFT's.
  static void MakeAdapter(const std::string& path) {
    fs::create_directories(path);
    WriteFile(path + "/adapter_config.json", "{}");
  }
};

// Given workers of which one holds an adapter, expect requests for it there alone, with its name
// and digest, and answers that say whose they are; without it, both serve.
TEST_F(AdapterApiTest, RequestsGoToWorkersThatHoldTheAdapter) {
  StartWith({{}, {{"pirate", "p1"}}});
  for (int i = 0; i < 3; ++i) {
    const Response chat = Chat(R"("model":"small:pirate")");
    ASSERT_EQ(chat.status, 200) << chat.body;
    EXPECT_EQ(chat.Json().at("model"), "small:pirate");
  }
  EXPECT_EQ(workers_[0]->started(), 0);
  for (const v1::GenerateRequest& request : workers_[1]->requests()) {
    EXPECT_EQ(request.adapter(), "pirate");
    EXPECT_EQ(request.adapter_digest(), "p1");
  }
  const Response completion = Post("/v1/completions", R"({"model":"small:pirate","prompt":"Hi"})");
  EXPECT_EQ(completion.Json().at("model"), "small:pirate");
  const Response response = Post("/v1/responses", R"({"model":"small:pirate","input":"Hi"})");
  EXPECT_EQ(response.Json().at("model"), "small:pirate");
  const Response message = Post(
      "/v1/messages",
      R"({"model":"small:pirate","max_tokens":9,"messages":[{"role":"user","content":"Hi"}]})");
  EXPECT_EQ(message.Json().at("model"), "small:pirate");
  EXPECT_EQ(workers_[1]->started(), 6);
  for (int seed = 0; seed < 16; ++seed) {
    const Response plain = Chat(absl::StrCat(R"("model":"small","seed":)", seed));
    EXPECT_EQ(plain.Json().at("model"), "small");
  }
  EXPECT_GT(workers_[0]->started(), 0);
  EXPECT_GT(workers_[1]->started(), 6);
  EXPECT_EQ(workers_[0]->requests()[0].adapter(), "");
}

// Given adapters on several workers, expect each once among the models, with its parent.
TEST_F(AdapterApiTest, ModelsListAdapters) {
  StartWith({{{"b", "b"}, {"a", "a"}}, {{"b", "b"}}});
  EXPECT_THAT(ModelIds(), ElementsAre("small", "small:a", "small:b"));
  const Response model = Get("/v1/models/small:a");
  ASSERT_EQ(model.status, 200);
  EXPECT_EQ(model.Json().at("id"), "small:a");
  EXPECT_EQ(model.Json().at("parent"), "small");
  EXPECT_EQ(Get("/v1/models/small").Json().at("parent"), nullptr);
}

// Given names of adapters that nobody holds, expect OpenAI's 404, on every way in.
TEST_F(AdapterApiTest, UnknownAdapterIsNotFound) {
  StartWith({{{"a", "a"}}});
  for (const char* name : {"small:b", "small:", "small:a:a", "other:a", ":a", "a", "small:../a"}) {
    const std::string field = absl::StrCat(R"("model":")", name, "\"");
    const Response responses[] = {
        Chat(field), Post("/tokenize", absl::StrCat("{", field, R"(,"prompt":"x"})")),
        Post("/v1/completions", absl::StrCat("{", field, R"(,"prompt":"x"})"))};
    for (const Response& response : responses) {
      EXPECT_EQ(response.status, 404) << name;
      EXPECT_EQ(response.Json().at("error").at("code"), "model_not_found");
      EXPECT_EQ(response.Json().at("error").at("param"), "model");
    }
  }
  EXPECT_EQ(Get("/v1/models/small:b").status, 404);
  EXPECT_EQ(Post("/tokenize", R"({"model":"small:a","prompt":"x"})").status, 200);
  EXPECT_EQ(workers_[0]->started(), 0);
}

// Given no leave, expect 403 with the reason, and no worker asked.
TEST_F(AdapterApiTest, LoadingIsOffUnlessAllowed) {
  StartWith({{{"a", "a"}}});
  for (const Response& response : {Load("b", "/b"), Unload("a")}) {
    EXPECT_EQ(response.status, 403);
    EXPECT_THAT(std::string(response.Json().at("error").at("message").as_string()),
                HasSubstr("--allow_adapter_loading"));
  }
  EXPECT_THAT(workers_[0]->adapters(), ElementsAre(Key("a")));
}

// Given leave, expect all workers to load and unload, and requests to see it as soon as it is said.
TEST_F(AdapterApiTest, LoadsAndUnloadsOnAllWorkers) {
  options_.api.allow_adapter_loading = true;
  StartWith({{}, {}});
  const Response loaded = Load("pirate", "/adapters/p");
  ASSERT_EQ(loaded.status, 200) << loaded.body;
  EXPECT_EQ(loaded.body, "Success: LoRA adapter 'pirate' added successfully.");
  for (const auto& worker : workers_) {
    EXPECT_THAT(worker->adapters(), ElementsAre(Pair("pirate", "/adapters/p")));
  }
  EXPECT_EQ(Chat(R"("model":"small:pirate")").status, 200);
  EXPECT_THAT(ModelIds(), ElementsAre("small", "small:pirate"));
  EXPECT_EQ(Load("pirate", "/adapters/p").status, 200);
  const Response other = Load("pirate", "/adapters/q");
  EXPECT_EQ(other.status, 400);
  EXPECT_EQ(other.Json().at("error").at("param"), "lora_name");
  EXPECT_EQ(Unload("pirate").status, 200);
  EXPECT_EQ(Chat(R"("model":"small:pirate")").status, 404);
  const Response gone = Unload("pirate");
  EXPECT_EQ(gone.status, 404);
  EXPECT_EQ(gone.Json().at("error").at("param"), "lora_name");
}

// Given bad bodies and files, expect errors that name the field, and the worker's own reason.
TEST_F(AdapterApiTest, BadLoadsNameTheField) {
  options_.api.allow_adapter_loading = true;
  StartWith({{}});
  const struct {
    const char* body;
    int status;
    const char* param;
    const char* message;
  } kCases[] = {
      {R"({"lora_path":"/a"})", 400, "lora_name", "lora_name"},
      {R"({"lora_name":5,"lora_path":"/a"})", 400, "lora_name", "lora_name"},
      {R"({"lora_name":"","lora_path":"/a"})", 400, "lora_name", "lora_name"},
      {R"({"lora_name":"a/b","lora_path":"/a"})", 400, "lora_name", "a/b"},
      {R"({"lora_name":"..","lora_path":"/a"})", 400, "lora_name", "lora_name"},
      {R"({"lora_name":"a"})", 400, "lora_path", "lora_path"},
      {R"({"lora_name":"a","lora_path":""})", 400, "lora_path", "lora_path"},
      {R"({"lora_name":"a","lora_path":["/a"]})", 400, "lora_path", "lora_path"},
      {R"({"lora_name":"a","lora_path":"/a\u0000b"})", 400, "lora_path", "lora_path"},
      {R"({"lora_name":"a","lora_path":"/nowhere"})", 404, "lora_path", "/nowhere: No such file"},
      {R"({"lora_name":"a","lora_path":"/broken"})", 400, "lora_path", "'r' is missing"},
  };
  for (const auto& test : kCases) {
    const Response response = Post("/v1/load_lora_adapter", test.body);
    EXPECT_EQ(response.status, test.status) << test.body;
    const json::value error = response.Json().at("error");
    EXPECT_EQ(error.at("param"), test.param) << test.body;
    EXPECT_THAT(std::string(error.at("message").as_string()), HasSubstr(test.message));
  }
  EXPECT_EQ(Post("/v1/load_lora_adapter", "{").status, 400);
  EXPECT_EQ(Post("/v1/unload_lora_adapter", "{}").status, 400);
  EXPECT_THAT(workers_[0]->adapters(), IsEmpty());
  workers_[0]->Kill();
  AwaitWorker(workers_[0]->address(), false);
  EXPECT_EQ(Load("a", "/a").status, 503);
}

// Given an answer with an adapter whose worker dies, expect it to go on where the same contents
// are, not where other contents have that name, though that worker has less to do.
TEST_F(AdapterApiTest, FailoverKeepsTheAdapter) {
  StartWith({{{"a", "old"}}, {{"a", "new"}}, {{"a", "old"}}, {}});
  for (const auto& worker : workers_) worker->HoldAfter(3);
  std::map<std::string, std::unique_ptr<Client>> clients;  // By the worker that answers.
  for (int i = 0; i < 3; ++i) {
    auto client = std::make_unique<Client>(router_->http_port());
    client->Write(Client::RequestText("POST", "/v1/chat/completions",
                                      ChatBody(R"("stream":true,"model":"small:a")")));
    const Response header = client->ReadHeader();
    ASSERT_EQ(header.status, 200);
    clients[header.headers.at("x-facet-worker")] = std::move(client);
  }
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(workers_[i]->AwaitRunning(1));
  workers_[0]->Kill();
  ASSERT_TRUE(workers_[2]->AwaitRunning(2));
  for (const auto& worker : workers_) worker->Release();
  std::string body;
  Client& moved = *clients.at(workers_[0]->address());
  for (std::string chunk = moved.ReadChunk(); !chunk.empty(); chunk = moved.ReadChunk()) {
    body += chunk;
  }
  EXPECT_EQ(Content(Events(body)), kAnswer);
  const v1::GenerateRequest resumed = workers_[2]->requests().back();
  EXPECT_EQ(resumed.adapter(), "a");
  EXPECT_EQ(resumed.adapter_digest(), "old");
  EXPECT_GE(resumed.resume_from_size(), 1);
  EXPECT_EQ(workers_[1]->started(), 1);
  EXPECT_EQ(workers_[3]->started(), 0);
}

class AdapterFolderApiTest : public AdapterApiTest {
 protected:
  AdapterFolderApiTest() : folder_(EmptyFolder("wanted")) {
    options_.api.allow_adapter_loading = true;
    options_.adapters.folder = folder_;
    options_.adapters.look_interval = absl::Milliseconds(5);
  }
  const std::string folder_;
};

// Given a folder of wanted adapters, expect workers to load what they lack: those that are there,
// one that comes back without, and what is put into the folder later.
TEST_F(AdapterFolderApiTest, WorkersLoadWhatIsWanted) {
  MakeAdapter(folder_ + "/a");
  WriteFile(folder_ + "/broken.gguf", "x");
  StartWith({{}, {{"a", "held already"}}});
  AwaitAdapters(0, {"a"});
  EXPECT_THAT(workers_[0]->adapters(), ElementsAre(Pair("a", folder_ + "/a")));
  EXPECT_THAT(workers_[1]->adapters(), ElementsAre(Pair("a", "held already")));
  MakeAdapter(folder_ + "/b");
  AwaitAdapters(0, {"a", "b"});
  AwaitAdapters(1, {"a", "b"});
  // One that is wanted but that nobody holds yet is not unknown: it may be tried again later.
  EXPECT_EQ(Chat(R"("model":"small:broken")").status, 503);
  const std::string address = workers_[0]->address();
  workers_[0] = nullptr;
  AwaitWorker(address, false);
  workers_[0] = StartWorker("small", address);
  AwaitAdapters(0, {"a", "b"});
}

// Given adapters loaded through the API, expect the folder to remember them for those that join,
// until they are unloaded; what was put there by hand is not taken away.
TEST_F(AdapterFolderApiTest, LoadedAdaptersAreRemembered) {
  const std::string elsewhere = EmptyFolder("elsewhere");
  MakeAdapter(elsewhere + "/p");
  WriteFile(elsewhere + "/q.gguf", "x");
  MakeAdapter(folder_ + "/own");
  StartWith({{}});
  AwaitAdapters(0, {"own"});
  EXPECT_EQ(Load("pirate", elsewhere + "/p").status, 200);
  EXPECT_EQ(Load("queen", elsewhere + "/q.gguf").status, 200);
  EXPECT_EQ(Load("own", folder_ + "/own").status, 200);
  EXPECT_EQ(fs::read_symlink(folder_ + "/pirate"), elsewhere + "/p");
  EXPECT_EQ(fs::read_symlink(folder_ + "/queen.gguf"), elsewhere + "/q.gguf");
  const std::string address = workers_[0]->address();
  workers_[0] = nullptr;
  AwaitWorker(address, false);
  workers_[0] = StartWorker("small", address);
  AwaitAdapters(0, {"own", "pirate", "queen"});
  EXPECT_EQ(Unload("queen").status, 200);
  EXPECT_FALSE(fs::exists(fs::symlink_status(folder_ + "/queen.gguf")));
  const Response refused = Unload("own");
  EXPECT_EQ(refused.status, 400);
  EXPECT_THAT(refused.body, HasSubstr("remove it there"));
  AwaitAdapters(0, {"own", "pirate"});
}

}  // namespace
}  // namespace facet
