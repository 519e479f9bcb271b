#include "worker/adapter_registry.h"

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "base/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/cpu/cpu_device.h"
#include "model/model_file.h"
#include "model/testing/files.h"
#include "worker/adapter_loader.h"

namespace facet {
namespace {

using ::facet::testing::EmptyFolder;
using ::facet::testing::ReadFile;
using ::facet::testing::StatusIs;
using ::facet::testing::WriteFile;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr char kPeft[] = "tests/testdata/golden/lora";
constexpr char kGguf[] = "tests/testdata/golden/lora.gguf";

class AdapterRegistryTest : public ::testing::Test {
 protected:
  AdapterRegistryTest() {
    const auto file = ModelFile::Open("tests/testdata/golden/model.gguf").value();
    base_ = WholePlan(ReadTextConfig(file->metadata()).value());
    device_ = MakeCpuDevice({1, "auto"}).value();
    Make({});
  }
  void Make(const AdapterLimits& limits) {
    registry_ = std::make_unique<AdapterRegistry>(&base_, device_.get(), limits);
  }
  std::vector<std::string> Names() const {
    std::vector<std::string> names;
    for (const auto& entry : registry_->List()) names.push_back(entry.name);
    return names;
  }
  // The golden adapter with another scale.
  static std::string OtherAdapter() {
    const std::string folder = EmptyFolder("other");
    WriteFile(folder + "/adapter_config.json",
              R"({"peft_type":"LORA","r":4,"lora_alpha":3,"target_modules":"all-linear"})");
    WriteFile(folder + "/adapter_model.safetensors",
              ReadFile(absl::StrCat(kPeft, "/adapter_model.safetensors")));
    return folder;
  }

  ShardPlan base_;
  std::unique_ptr<Device> device_;
  std::unique_ptr<AdapterRegistry> registry_;
};

// Given a folder and a GGUF file, expect both by their names, with equal contents and digests.
TEST_F(AdapterRegistryTest, HoldsWhatWasLoaded) {
  ASSERT_OK(registry_->BlockingLoad("b", kPeft));
  ASSERT_OK(registry_->BlockingLoad("a", kGguf));
  EXPECT_THAT(Names(), ElementsAre("a", "b"));
  const auto a = registry_->Find("a"), b = registry_->Find("b");
  ASSERT_NE(a, nullptr);
  ASSERT_NE(b, nullptr);
  EXPECT_EQ(a->digest, b->digest);
  EXPECT_EQ(a->rank_max, 4);
  EXPECT_EQ(registry_->bytes_held(), a->bytes + b->bytes);
  EXPECT_EQ(registry_->Find("c"), nullptr);
  const AdapterWeight& query = a->layers[0][static_cast<int>(AdapterMatrix::kQuery)];
  EXPECT_EQ(query.a.rows, 4);
  EXPECT_EQ(query.b.rows, 4);
  EXPECT_EQ(query.b.columns, 128);
  // B [128, 4] is turned over.
  const auto file = AdapterFile::Open(kGguf, base_.whole, 1 << 20).value();
  const auto* b_rows = reinterpret_cast<const float*>(file->parts()[0].b.data());
  const auto* turned = static_cast<const float*>(query.b.data);
  for (int rank = 0; rank < 4; ++rank) {
    for (int output = 0; output < 128; ++output) {
      ASSERT_EQ(turned[rank * 128 + output], b_rows[output * 4 + rank]);
    }
  }
}

// Given a name that is taken, expect the same contents to be fine and others to be refused.
TEST_F(AdapterRegistryTest, NameKeepsItsContents) {
  ASSERT_OK(registry_->BlockingLoad("a", kPeft));
  EXPECT_OK(registry_->BlockingLoad("a", kGguf));
  EXPECT_THAT(registry_->BlockingLoad("a", OtherAdapter()),
              StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("'a'")));
  EXPECT_EQ(registry_->Find("a")->layers[0][0].scale, 2.0f);
  EXPECT_OK(registry_->Unload("a"));
  EXPECT_OK(registry_->BlockingLoad("a", OtherAdapter()));
  EXPECT_EQ(registry_->Find("a")->layers[0][0].scale, 0.75f);
}

// Given an adapter in use, expect its name to go at once and its memory with its last user.
TEST_F(AdapterRegistryTest, UnloadWaitsForNobodyButCountsMemory) {
  ASSERT_OK(registry_->BlockingLoad("a", kPeft));
  std::shared_ptr<const Adapter> used = registry_->Find("a");
  EXPECT_OK(registry_->Unload("a"));
  EXPECT_EQ(registry_->Find("a"), nullptr);
  EXPECT_THAT(Names(), IsEmpty());
  EXPECT_EQ(registry_->bytes_held(), used->bytes);
  used = nullptr;
  EXPECT_EQ(registry_->bytes_held(), 0);
  EXPECT_THAT(registry_->Unload("a"), StatusIs(absl::StatusCode::kNotFound, HasSubstr("'a'")));
}

// Given limits of number and memory, expect them to hold, for adapters that are unloaded but in
// use too.
TEST_F(AdapterRegistryTest, LimitsHold) {
  Make({.adapters_max = 1});
  ASSERT_OK(registry_->BlockingLoad("a", kPeft));
  EXPECT_THAT(registry_->BlockingLoad("b", kPeft),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("--adapters_max")));
  Make({.bytes_max = 300'000});
  ASSERT_OK(registry_->BlockingLoad("a", kPeft));
  const std::shared_ptr<const Adapter> used = registry_->Find("a");
  EXPECT_OK(registry_->Unload("a"));
  EXPECT_THAT(registry_->BlockingLoad("b", kPeft),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("room for")));
}

// Given changes, expect the observer to hear all that are held after each.
TEST_F(AdapterRegistryTest, ObserverHearsEachChange) {
  std::vector<std::string> heard;
  registry_->SetObserver([&](const std::vector<AdapterRegistry::Entry>& entries) {
    std::string names;
    for (const auto& entry : entries) absl::StrAppend(&names, entry.name, " ");
    heard.push_back(names);
  });
  ASSERT_OK(registry_->BlockingLoad("a", kPeft));
  ASSERT_OK(registry_->BlockingLoad("b", kPeft));
  ASSERT_OK(registry_->BlockingLoad("b", kPeft));
  EXPECT_FALSE(registry_->BlockingLoad("c", "nowhere").ok());
  EXPECT_OK(registry_->Unload("a"));
  EXPECT_THAT(heard, ElementsAre("", "a ", "a b ", "b "));
}

// Given a folder with good adapters and a broken one, expect the good ones.
TEST_F(AdapterRegistryTest, FolderLoadsWhatItCan) {
  const std::string folder = EmptyFolder("adapters");
  std::filesystem::copy_file(kGguf, folder + "/one.gguf");
  std::filesystem::copy(kPeft, folder + "/two");
  WriteFile(folder + "/broken.gguf", "GGUF");
  EXPECT_OK(BlockingLoadFolder(folder, *registry_));
  EXPECT_THAT(Names(), ElementsAre("one", "two"));
  EXPECT_THAT(BlockingLoadFolder("nowhere", *registry_),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("nowhere")));
}

// Given jobs for the loader's thread, expect each to hear how it ended.
TEST_F(AdapterRegistryTest, LoaderTellsHowItEnded) {
  absl::Notification bad_done, good_done;
  absl::Status bad, good = absl::UnknownError("");
  {
    AdapterLoader loader(registry_.get());
    loader.Add("no/name", kPeft, [&](const absl::Status& status) {
      bad = status;
      bad_done.Notify();
    });
    loader.Add("a", kPeft, [&](const absl::Status& status) {
      good = status;
      good_done.Notify();
    });
    bad_done.WaitForNotification();
    good_done.WaitForNotification();
  }
  EXPECT_THAT(bad, StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no/name")));
  EXPECT_OK(good);
  EXPECT_THAT(Names(), ElementsAre("a"));
}

}  // namespace
}  // namespace facet
