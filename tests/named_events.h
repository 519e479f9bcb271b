#ifndef FACET_TESTS_NAMED_EVENTS_H_
#define FACET_TESTS_NAMED_EVENTS_H_

#include <boost/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "gtest/gtest.h"

namespace facet::testing {

// The events of a stream, each with a name that its data repeat as `type`: (name, data).
inline std::vector<std::pair<std::string, boost::json::value>> NamedEvents(
    const std::string& body) {
  std::vector<std::pair<std::string, boost::json::value>> events;
  for (const absl::string_view event : absl::StrSplit(body, "\n\n", absl::SkipEmpty())) {
    std::vector<absl::string_view> lines = absl::StrSplit(event, '\n');
    if (lines.size() != 2 || !absl::ConsumePrefix(&lines[0], "event: ") ||
        !absl::ConsumePrefix(&lines[1], "data: ")) {
      ADD_FAILURE() << event;
      continue;
    }
    events.emplace_back(std::string(lines[0]),
                        boost::json::parse({lines[1].data(), lines[1].size()}));
    EXPECT_EQ(events.back().second.at("type"), events.back().first.c_str());
  }
  return events;
}

}  // namespace facet::testing

#endif  // FACET_TESTS_NAMED_EVENTS_H_
