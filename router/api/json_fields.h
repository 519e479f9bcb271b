#ifndef FACET_ROUTER_API_JSON_FIELDS_H_
#define FACET_ROUTER_API_JSON_FIELDS_H_

#include <boost/json/fwd.hpp>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace facet {

// Parses a request body: an object, nested at most 64 deep. INVALID_ARGUMENT says where it is
// wrong.
absl::StatusOr<boost::json::object> ParseJsonObject(absl::string_view body);

// Strict reading of the optional fields of a JSON object. An absent field and null leave the target
// as it is; a value of another type or out of range gives InvalidParam with the field's path.
class JsonFields {
 public:
  // `path` goes before each name in errors, e.g. "messages[2]."; both must outlive this.
  JsonFields(const boost::json::object& object, absl::string_view path)
      : object_(object), path_(path) {}

  // Null if absent or null.
  const boost::json::value* Find(absl::string_view name) const;
  absl::Status Bool(absl::string_view name, bool* target) const;
  absl::Status String(absl::string_view name, std::string* target) const;
  // The same for a field that must be there.
  absl::Status RequiredString(absl::string_view name, std::string* target) const;
  // A whole number; 3.0 is one, 3.5 is not.
  absl::Status Integer(absl::string_view name, int64_t least, int64_t most,
                       std::optional<int64_t>* target) const;
  absl::Status Number(absl::string_view name, double least, double most,
                      std::optional<double>* target) const;
  // Null if absent or null.
  absl::StatusOr<const boost::json::object*> Object(absl::string_view name) const;
  absl::StatusOr<const boost::json::array*> Array(absl::string_view name) const;

  std::string PathOf(absl::string_view name) const;
  // "`temperature` must be ..., but is a string."
  absl::Status Wrong(absl::string_view name, absl::string_view expected) const;

 private:
  const boost::json::object& object_;
  const absl::string_view path_;
};

// Copies those of `names` that are present in `from`.
void CopyFields(const boost::json::object& from, std::initializer_list<absl::string_view> names,
                boost::json::object& to);

// Text between Abseil and the JSON library.
boost::json::string JsonText(absl::string_view text);
absl::string_view TextView(const boost::json::string& text);

// InvalidParam: "`messages[0].content` must be a string, but is a number."
absl::Status WrongValue(absl::string_view path, absl::string_view expected,
                        const boost::json::value& value);

}  // namespace facet

#endif  // FACET_ROUTER_API_JSON_FIELDS_H_
