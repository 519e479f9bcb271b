#ifndef FACET_BASE_CHECK_H_
#define FACET_BASE_CHECK_H_

#include <sstream>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

// CHECK and its kin, under the names that newer Abseil gives them, because Debian's lacks
// absl/log. A failed check is our own bug: it prints file, line and reason to stderr and aborts.
// Extra text may be streamed: CHECK(x > 0) << "x=" << x;

namespace facet::internal_check {

// Collects the message and aborts when it goes out of scope.
class CheckFailure {
 public:
  CheckFailure(const char* file, int line, const std::string& what);
  [[noreturn]] ~CheckFailure();
  std::ostream& stream() { return stream_; }

 private:
  std::ostringstream stream_;
};

// Turns the stream expression into void, so that CHECK fits both sides of ?:.
struct Voidify {
  void operator&(std::ostream&) const {}
};

template <typename A, typename B>
std::string Describe(const char* expression, const A& a, const B& b) {
  std::ostringstream text;
  text << expression << " (" << a << " vs. " << b << ")";
  return text.str();
}

// The reference is used within the statement that made its argument.
// NOLINTNEXTLINE(bugprone-return-const-ref-from-parameter)
inline const absl::Status& AsStatus(const absl::Status& status) { return status; }
template <typename T>
const absl::Status& AsStatus(const absl::StatusOr<T>& status) {
  return status.status();
}

}  // namespace facet::internal_check

// More text may be streamed behind these two, so their replacement can have no parentheses around.
// NOLINTBEGIN(bugprone-macro-parentheses)
#define CHECK(condition)                             \
  (condition) ? (void)0                              \
              : ::facet::internal_check::Voidify() & \
                    ::facet::internal_check::CheckFailure(__FILE__, __LINE__, #condition).stream()

#define FACET_CHECK_OP(op, a, b)                                                       \
  ((a)op(b)) ? (void)0                                                                 \
             : ::facet::internal_check::Voidify() &                                    \
                   ::facet::internal_check::CheckFailure(                              \
                       __FILE__, __LINE__,                                             \
                       ::facet::internal_check::Describe(#a " " #op " " #b, (a), (b))) \
                       .stream()
// NOLINTEND(bugprone-macro-parentheses)

#define CHECK_EQ(a, b) FACET_CHECK_OP(==, a, b)
#define CHECK_NE(a, b) FACET_CHECK_OP(!=, a, b)
#define CHECK_LE(a, b) FACET_CHECK_OP(<=, a, b)
#define CHECK_LT(a, b) FACET_CHECK_OP(<, a, b)
#define CHECK_GE(a, b) FACET_CHECK_OP(>=, a, b)
#define CHECK_GT(a, b) FACET_CHECK_OP(>, a, b)

// For a status or StatusOr that must be OK.
#define CHECK_OK(expression)                                                             \
  do {                                                                                   \
    const auto& facet_check_status = (expression);                                       \
    CHECK(facet_check_status.ok())                                                       \
        << #expression << ": " << ::facet::internal_check::AsStatus(facet_check_status); \
  } while (false)

#endif  // FACET_BASE_CHECK_H_
