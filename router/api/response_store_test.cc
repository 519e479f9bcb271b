#include "router/api/response_store.h"

#include <chrono>
#include <filesystem>
#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/status_matchers.h"
#include "gtest/gtest.h"
#include "model/testing/files.h"
#include "router/api/api_error.h"

namespace facet {
namespace {

namespace fs = std::filesystem;

class ResponseStoreTest : public ::testing::Test {
 protected:
  ResponseStore Make(int count_max = 100, int64_t bytes_max = 1 << 20) const {
    return ResponseStore({folder_, count_max, bytes_max});
  }
  static std::string Id(int i) { return absl::StrCat("resp_", i); }
  // Makes `id` older than all others.
  void Age(const std::string& id, int hours) const {
    fs::last_write_time(folder_ + "/" + id + ".json",
                        fs::file_time_type::clock::now() - std::chrono::hours(hours));
  }
  int Files() const {
    return static_cast<int>(
        std::distance(fs::directory_iterator(folder_), fs::directory_iterator()));
  }

  const std::string folder_ = testing::EmptyFolder("responses");
};

// Given a response put by one router, expect another to read it, and to remove it for both.
TEST_F(ResponseStoreTest, IsSharedByFolder) {
  ResponseStore one = Make(), other = Make();
  ASSERT_OK(one.Put("resp_ab12", "text"));
  EXPECT_EQ(*other.Get("resp_ab12"), "text");
  EXPECT_EQ(Files(), 1);
  EXPECT_OK(other.Remove("resp_ab12"));
  EXPECT_EQ(CodeOf(one.Get("resp_ab12").status()), "previous_response_not_found");
  EXPECT_TRUE(absl::IsNotFound(one.Remove("resp_ab12")));
}

// Given names that are no ids, expect them not to be looked for: they might lead out of the folder.
TEST_F(ResponseStoreTest, RefusesNamesThatAreNoIds) {
  ResponseStore store = Make();
  ASSERT_OK(store.Put("resp_ab12", "text"));
  std::ofstream(folder_ + "/secret.json") << "secret";
  for (const char* name :
       {"secret", "resp_/../secret", "../responses/secret", "", "resp_ab12.json", "resp_x"}) {
    EXPECT_TRUE(absl::IsNotFound(store.Get(name).status())) << name;
    EXPECT_TRUE(absl::IsNotFound(store.Remove(name))) << name;
  }
}

// Given more responses than the bound, expect the oldest to go.
TEST_F(ResponseStoreTest, KeepsTheNewestWithinTheCount) {
  ResponseStore store = Make(/*count_max=*/8);
  for (int i = 0; i < 8; ++i) {
    ASSERT_OK(store.Put(Id(i), "text"));
    Age(Id(i), 8 - i);
  }
  for (int i = 8; i < 11; ++i) ASSERT_OK(store.Put(Id(i), "text"));
  EXPECT_EQ(Files(), 8);
  EXPECT_FALSE(store.Get(Id(2)).ok());
  EXPECT_OK(store.Get(Id(3)));
}

// Given more bytes than the bound, expect the oldest to go; one that is too large is refused.
TEST_F(ResponseStoreTest, KeepsTheNewestWithinTheBytes) {
  ResponseStore store = Make(/*count_max=*/1000, /*bytes_max=*/16'000);
  for (int i = 0; i < 16; ++i) {
    ASSERT_OK(store.Put(Id(i), std::string(1000, 'x')));
    Age(Id(i), 20 - i);
  }
  ASSERT_OK(store.Put(Id(16), std::string(1000, 'x')));
  ASSERT_OK(store.Put(Id(17), std::string(1000, 'x')));
  EXPECT_FALSE(store.Get(Id(0)).ok());
  EXPECT_OK(store.Get(Id(17)));
  EXPECT_TRUE(absl::IsResourceExhausted(store.Put(Id(18), std::string(1001, 'x'))));
}

// Given no folder, or one that cannot be, expect errors and no crash.
TEST_F(ResponseStoreTest, WithoutAFolder) {
  ResponseStore none({});
  EXPECT_FALSE(none.enabled());
  EXPECT_FALSE(none.Put("resp_1", "text").ok());
  EXPECT_TRUE(absl::IsNotFound(none.Get("resp_1").status()));
  ResponseStore impossible({"/proc/none"});
  EXPECT_TRUE(absl::IsUnavailable(impossible.Put("resp_1", "text")));
}

}  // namespace
}  // namespace facet
