// The OpenAPI document and the router's own table say the same. What each path answers is tested
// against it by tests/end_to_end/test_openapi.py.

#include <boost/json.hpp>
#include <set>
#include <string>
#include <utility>

#include "absl/strings/ascii.h"
#include "base/check.h"
#include "gtest/gtest.h"
#include "model/json.h"
#include "router/http/http_api.h"
#include "tests/router_fixture.h"

namespace facet {
namespace {

namespace json = boost::json;
using ::facet::testing::RouterTest;

class OpenApiTest : public RouterTest {
 protected:
  // Deeper than the JSON library takes by itself.
  json::value Document() {
    StartAll(1);
    auto document = ParseJson(Get("/openapi.json").body, "the document");
    CHECK_OK(document);
    return *std::move(document);
  }
};

// Given the document, expect each route of the table in it, and nothing else.
TEST_F(OpenApiTest, HasEachRoute) {
  std::set<std::pair<std::string, std::string>> documented, served;
  for (const auto& [method, path] : HttpApi::Routes()) served.emplace(method, path);
  const json::value document = Document();
  for (const auto& [name, operations] : document.at("paths").as_object()) {
    const std::string path(name);
    for (const auto& operation : operations.as_object()) {
      documented.emplace(absl::AsciiStrToUpper(std::string(operation.key())), path);
    }
  }
  EXPECT_EQ(documented, served);
}

// Given an operation that reads a body, expect every status in it that the server itself may give.
TEST_F(OpenApiTest, HasEachStatus) {
  const json::value document = Document();
  for (const auto& [path, operations] : document.at("paths").as_object()) {
    for (const auto& [method, operation] : operations.as_object()) {
      const json::object& responses = operation.at("responses").as_object();
      const auto expect = [&](std::initializer_list<const char*> statuses) {
        for (const char* status : statuses) {
          EXPECT_TRUE(responses.contains(status)) << method << " " << path << " " << status;
        }
      };
      expect({"200", "405", "431"});
      if (method != "post") continue;
      expect({"400", "404", "408", "413", "503"});
      const bool streams =
          responses.at("200").at("content").as_object().contains("text/event-stream");
      if (streams) expect({"429", "500", "504"});
    }
  }
}

}  // namespace
}  // namespace facet
