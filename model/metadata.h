#ifndef FACET_MODEL_METADATA_H_
#define FACET_MODEL_METADATA_H_

#include <cstdint>
#include <map>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace facet {

// The typed key-value pairs that describe a model, under GGUF's names ("gemma4.block_count",
// "tokenizer.ggml.tokens", ...; the list is in model/README.md). Every source of a model ends in
// this one form: a GGUF file holds it, a Hugging Face folder is converted to it, and a worker
// sends it to routers. A value type; reading is thread-safe.
class Metadata {
 public:
  // GGUF's value types. An array has one element type; nested arrays are not supported.
  using Value = std::variant<uint8_t, int8_t, uint16_t, int16_t, uint32_t, int32_t, float, bool,
                             std::string, uint64_t, int64_t, double, std::vector<uint8_t>,
                             std::vector<int8_t>, std::vector<uint16_t>, std::vector<int16_t>,
                             std::vector<uint32_t>, std::vector<int32_t>, std::vector<float>,
                             std::vector<bool>, std::vector<std::string>, std::vector<uint64_t>,
                             std::vector<int64_t>, std::vector<double>>;

  void Set(absl::string_view key, Value value);
  bool Has(absl::string_view key) const;
  // Null if absent. Valid until the next Set.
  const Value* Find(absl::string_view key) const;

  // Each getter names the key in its error: NOT_FOUND when absent, INVALID_ARGUMENT when the value
  // has another type or does not fit. GetInt takes any integer type, GetFloat any number; GetInts
  // any integer array.
  absl::StatusOr<int64_t> GetInt(absl::string_view key) const;
  absl::StatusOr<double> GetFloat(absl::string_view key) const;
  absl::StatusOr<bool> GetBool(absl::string_view key) const;
  absl::StatusOr<absl::string_view> GetString(absl::string_view key) const;
  absl::StatusOr<std::vector<int64_t>> GetInts(absl::string_view key) const;
  absl::StatusOr<std::vector<bool>> GetBools(absl::string_view key) const;
  // The array itself, not a copy: vocabularies are large. Valid until the next Set.
  absl::StatusOr<const std::vector<std::string>*> GetStrings(absl::string_view key) const;

  const std::map<std::string, Value, std::less<>>& values() const { return values_; }

 private:
  std::map<std::string, Value, std::less<>> values_;
};

}  // namespace facet

#endif  // FACET_MODEL_METADATA_H_
