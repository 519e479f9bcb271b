#include "router/api/input_items.h"

#include <algorithm>
#include <boost/json.hpp>
#include <cstdint>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/status_macros.h"
#include "router/api/api_error.h"
#include "router/api/json_fields.h"

namespace facet {
namespace {

namespace json = boost::json;

constexpr int kLimitDefault = 20;
constexpr int kLimitMax = 100;

struct Page {
  int limit = kLimitDefault;
  bool newest_first = true;
  std::string after;
};

absl::StatusOr<Page> ParsePage(absl::string_view query) {
  Page page;
  for (const absl::string_view part : absl::StrSplit(query, '&', absl::SkipEmpty())) {
    const std::pair<absl::string_view, absl::string_view> field =
        absl::StrSplit(part, absl::MaxSplits('=', 1));
    if (field.first == "limit") {
      if (!absl::SimpleAtoi(field.second, &page.limit) || page.limit < 1 ||
          page.limit > kLimitMax) {
        return InvalidParam(
            "limit", absl::StrCat("`limit` must be a whole number from 1 to ", kLimitMax, "."));
      }
    } else if (field.first == "order") {
      if (field.second != "asc" && field.second != "desc") {
        return InvalidParam("order", "`order` must be \"asc\" or \"desc\".");
      }
      page.newest_first = field.second == "desc";
    } else if (field.first == "after") {
      page.after = std::string(field.second);
    }
  }
  return page;
}

// An item as OpenAI lists it: with an id, and a message's text as a part.
json::object Complete(const json::object& item, std::string id) {
  json::object complete = item;
  if (!complete.contains("type")) complete["type"] = "message";
  if (!complete.contains("id")) complete["id"] = id;
  if (complete["type"] != "message") return complete;
  if (const json::value* content = item.if_contains("content");
      content != nullptr && content->is_string()) {
    const bool from_model = item.contains("role") && item.at("role") == "assistant";
    complete["content"] = json::array{
        json::object{{"type", from_model ? "output_text" : "input_text"}, {"text", *content}}};
  }
  if (!complete.contains("status")) complete["status"] = "completed";
  return complete;
}

absl::Status Unreadable(const std::string& id) {
  return absl::InternalError(absl::StrCat("The response `", id, "` cannot be read."));
}

}  // namespace

absl::StatusOr<json::value> ListInputItems(const std::string& id, const json::object& stored,
                                           absl::string_view query) {
  ASSIGN_OR_RETURN(const Page page, ParsePage(query));
  const json::value* items = stored.if_contains("items");
  const json::value* response = stored.if_contains("response");
  if (items == nullptr || !items->is_array() || response == nullptr || !response->is_object()) {
    return Unreadable(id);
  }
  const json::value* output = response->get_object().if_contains("output");
  if (output == nullptr || !output->is_array() ||
      output->get_array().size() > items->get_array().size()) {
    return Unreadable(id);
  }
  // The conversation ends with what this response answered.
  json::array list;
  for (size_t i = 0; i < items->get_array().size() - output->get_array().size(); ++i) {
    if (!items->get_array()[i].is_object()) return Unreadable(id);
    list.push_back(Complete(items->get_array()[i].get_object(),
                            absl::StrCat("item_", id.substr(id.find('_') + 1), "_", i)));
  }
  if (page.newest_first) std::reverse(list.begin(), list.end());
  auto begin = list.begin();
  if (!page.after.empty()) {
    begin = std::find_if(list.begin(), list.end(), [&](const json::value& item) {
      return item.at("id") == JsonText(page.after);
    });
    if (begin == list.end()) {
      return InvalidParam("after", "`after` is not the id of an item of this response.");
    }
    ++begin;
  }
  const bool has_more = list.end() - begin > page.limit;
  const json::array data(begin, has_more ? begin + page.limit : list.end());
  return json::object{{"object", "list"},
                      {"data", data},
                      {"first_id", data.empty() ? json::value() : data.front().at("id")},
                      {"last_id", data.empty() ? json::value() : data.back().at("id")},
                      {"has_more", has_more}};
}

}  // namespace facet
