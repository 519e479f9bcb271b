#ifndef FACET_OPS_SIMULATION_INPUT_OBJECT_H_
#define FACET_OPS_SIMULATION_INPUT_OBJECT_H_

#include <boost/json/fwd.hpp>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace facet {

// One JSON object of an input file, read strictly: errors are INVALID_ARGUMENT and say where it
// stands and which field is wrong. Fields are looked for by name; a default makes one optional.
class InputObject {
 public:
  // `where`: the file, and the line if it has many.
  static absl::StatusOr<InputObject> Parse(absl::string_view text, std::string where);
  InputObject(InputObject&& other) noexcept;
  ~InputObject();

  // Refuses a field of another name.
  absl::Status CheckNames(std::initializer_list<absl::string_view> names) const;

  // From least to most. Without `otherwise` the field must be there.
  absl::StatusOr<double> Number(absl::string_view name, double least, double most) const;
  absl::StatusOr<double> Number(absl::string_view name, double least, double most,
                                double otherwise) const;
  absl::StatusOr<int64_t> Integer(absl::string_view name, int64_t least, int64_t most) const;
  absl::StatusOr<int64_t> Integer(absl::string_view name, int64_t least, int64_t most,
                                  int64_t otherwise) const;
  absl::StatusOr<std::string> String(absl::string_view name) const;
  absl::StatusOr<std::string> String(absl::string_view name, std::string otherwise) const;
  // [["name", 12], ...]; each number from 1 to most. Must be there.
  using NamedCount = std::pair<std::string, int64_t>;
  absl::StatusOr<std::vector<NamedCount>> NamedCounts(absl::string_view name, int64_t most) const;
  // [1, 2, ...], each at least 0. Must be there.
  absl::StatusOr<std::vector<int64_t>> Integers(absl::string_view name) const;

  // "FILE line 3: `name` MESSAGE"
  absl::Status Wrong(absl::string_view name, absl::string_view message) const;

 private:
  InputObject(std::unique_ptr<boost::json::object> object, std::string where);
  const boost::json::value* Find(absl::string_view name) const;

  std::unique_ptr<boost::json::object> object_;
  std::string where_;
};

// Calls `handle` with each line of a JSON-lines text that is not blank, until one fails. `file` is
// its name, for errors.
absl::Status ForEachInputObject(
    absl::string_view text, absl::string_view file,
    const std::function<absl::Status(const InputObject& object)>& handle);

// NOT_FOUND or UNAVAILABLE names the file.
absl::StatusOr<std::string> ReadInputFile(const std::string& path);

}  // namespace facet

#endif  // FACET_OPS_SIMULATION_INPUT_OBJECT_H_
