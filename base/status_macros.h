#ifndef FACET_BASE_STATUS_MACROS_H_
#define FACET_BASE_STATUS_MACROS_H_

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

// Early return on an error, under the names that newer Abseil gives these macros.

#define RETURN_IF_ERROR(expression)                                                        \
  do {                                                                                     \
    if (absl::Status facet_status = (expression); !facet_status.ok()) return facet_status; \
  } while (false)

#define FACET_CONCAT_INNER(a, b) a##b
#define FACET_CONCAT(a, b) FACET_CONCAT_INNER(a, b)

// ASSIGN_OR_RETURN(int x, ParseInt(text)); `lhs` may declare a variable.
#define ASSIGN_OR_RETURN(lhs, expression) \
  FACET_ASSIGN_OR_RETURN(FACET_CONCAT(facet_status_or_, __LINE__), lhs, expression)

// `lhs` may declare a variable, so it can have no parentheses.
// NOLINTBEGIN(bugprone-macro-parentheses)
#define FACET_ASSIGN_OR_RETURN(result, lhs, expression) \
  auto result = (expression);                           \
  if (!result.ok()) return std::move(result).status();  \
  lhs = std::move(result).value()
// NOLINTEND(bugprone-macro-parentheses)

#endif  // FACET_BASE_STATUS_MACROS_H_
