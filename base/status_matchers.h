#ifndef FACET_BASE_STATUS_MATCHERS_H_
#define FACET_BASE_STATUS_MATCHERS_H_

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"

// Matchers for absl::Status and absl::StatusOr in tests, under the names that newer Abseil gives
// them: EXPECT_THAT(Load(path), IsOk()); EXPECT_THAT(Load(""), StatusIs(code, HasSubstr("path"))).

namespace facet::testing {

// The reference is used within the statement that made its argument.
// NOLINTNEXTLINE(bugprone-return-const-ref-from-parameter)
inline const absl::Status& AsStatus(const absl::Status& status) { return status; }
template <typename T>
const absl::Status& AsStatus(const absl::StatusOr<T>& status) {
  return status.status();
}

MATCHER(IsOk, "is OK") {
  *result_listener << AsStatus(arg);
  return AsStatus(arg).ok();
}

MATCHER_P2(StatusIs, code, message, "") {
  *result_listener << AsStatus(arg);
  return AsStatus(arg).code() == code &&
         ::testing::ExplainMatchResult(message, std::string(AsStatus(arg).message()),
                                       result_listener);
}

MATCHER_P(IsOkAndHolds, value, "") {
  if (!arg.ok()) {
    *result_listener << arg.status();
    return false;
  }
  return ::testing::ExplainMatchResult(value, *arg, result_listener);
}

}  // namespace facet::testing

#define ASSERT_OK(expression) ASSERT_THAT(expression, ::facet::testing::IsOk())
#define EXPECT_OK(expression) EXPECT_THAT(expression, ::facet::testing::IsOk())

// NOLINTBEGIN(bugprone-macro-parentheses): `lhs` may declare a variable.
// ASSERT_OK_AND_ASSIGN(auto x, F()); fails the test when F() is an error.
#define ASSERT_OK_AND_ASSIGN(lhs, expression) \
  FACET_ASSERT_OK_AND_ASSIGN(FACET_MATCHERS_CONCAT(facet_status_or_, __LINE__), lhs, expression)
#define FACET_MATCHERS_CONCAT_INNER(a, b) a##b
#define FACET_MATCHERS_CONCAT(a, b) FACET_MATCHERS_CONCAT_INNER(a, b)
#define FACET_ASSERT_OK_AND_ASSIGN(result, lhs, expression) \
  auto result = (expression);                               \
  ASSERT_TRUE(result.ok()) << result.status();              \
  lhs = std::move(result).value()
// NOLINTEND(bugprone-macro-parentheses)

#endif  // FACET_BASE_STATUS_MATCHERS_H_
