#include "base/flags.h"

#include <cstdlib>
#include <string>

#include "absl/flags/flag.h"
#include "absl/flags/reflection.h"
#include "base/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

ABSL_FLAG(int, page_count, 3, "A number.");
ABSL_FLAG(bool, quick, false, "A switch.");
ABSL_FLAG(std::string, api_key, "", "A secret.");
ABSL_FLAG(int, step_tokens_max, 5, "A count, no secret.");

namespace facet {
namespace {

using ::facet::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StrEq;

// Given variables of ours and of others, expect ours as flags.
TEST(FlagsTest, EnvironmentGivesFlags) {
  const char* environment[] = {"PATH=/bin", "FACET_FLAG_PAGE_COUNT=7", "FACET_FLAG_QUICK=true",
                               nullptr};
  ASSERT_OK_AND_ASSIGN(auto flags, FlagsFromEnvironment(environment));
  EXPECT_THAT(flags, ElementsAre("--page_count=7", "--quick=true"));
}

// Given a variable for which there is no flag, expect an error that names it.
TEST(FlagsTest, UnknownVariableIsNamed) {
  const char* environment[] = {"FACET_FLAG_PAGE_CUONT=7", nullptr};
  EXPECT_THAT(FlagsFromEnvironment(environment).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("FACET_FLAG_PAGE_CUONT")));
}

// Given both sources, expect that the command line wins, that the environment fills the rest, and
// that positional arguments come back.
TEST(FlagsTest, CommandLineWinsOverEnvironment) {
  absl::FlagSaver saver;
  ASSERT_EQ(setenv("FACET_FLAG_PAGE_COUNT", "7", 1), 0);
  ASSERT_EQ(setenv("FACET_FLAG_QUICK", "true", 1), 0);
  char program[] = "program", flag[] = "--page_count=8", positional[] = "model.gguf";
  char* argv[] = {program, flag, positional};
  EXPECT_THAT(ParseFlags(3, argv, "A test."), ElementsAre(StrEq("program"), StrEq("model.gguf")));
  EXPECT_EQ(absl::GetFlag(FLAGS_page_count), 8);
  EXPECT_TRUE(absl::GetFlag(FLAGS_quick));
  unsetenv("FACET_FLAG_PAGE_COUNT");
  unsetenv("FACET_FLAG_QUICK");
}

// Given changed flags, expect those alone, and the secret hidden.
TEST(FlagsTest, EffectiveFlagsHideSecrets) {
  absl::FlagSaver saver;
  absl::SetFlag(&FLAGS_api_key, "hunter2");
  absl::SetFlag(&FLAGS_step_tokens_max, 6);
  auto flags = EffectiveFlags();
  EXPECT_EQ(flags["api_key"], "***");
  EXPECT_EQ(flags["step_tokens_max"], "6");
  EXPECT_EQ(flags.count("page_count"), 0);
}

}  // namespace
}  // namespace facet
