#include "model/metadata.h"

#include <type_traits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace facet {
namespace {

template <typename T>
constexpr bool kIsInteger = std::is_integral_v<T> && !std::is_same_v<T, bool>;

absl::Status WrongType(absl::string_view key, absl::string_view wanted) {
  return absl::InvalidArgumentError(absl::StrCat("metadata key '", key, "' is not ", wanted));
}

// The element type of a vector alternative, or void.
template <typename T>
struct ElementOf {
  using type = void;
};
template <typename T>
struct ElementOf<std::vector<T>> {
  using type = T;
};

absl::StatusOr<const Metadata::Value*> Require(const Metadata& metadata, absl::string_view key) {
  const Metadata::Value* value = metadata.Find(key);
  if (value == nullptr) {
    return absl::NotFoundError(absl::StrCat("metadata key '", key, "' is missing"));
  }
  return value;
}

template <typename T>
absl::StatusOr<const T*> RequireType(const Metadata& metadata, absl::string_view key,
                                     absl::string_view wanted) {
  ASSIGN_OR_RETURN(const Metadata::Value* value, Require(metadata, key));
  const T* typed = std::get_if<T>(value);
  if (typed == nullptr) return WrongType(key, wanted);
  return typed;
}

}  // namespace

void Metadata::Set(absl::string_view key, Value value) {
  values_.insert_or_assign(std::string(key), std::move(value));
}

bool Metadata::Has(absl::string_view key) const { return Find(key) != nullptr; }

const Metadata::Value* Metadata::Find(absl::string_view key) const {
  const auto found = values_.find(key);
  return found == values_.end() ? nullptr : &found->second;
}

absl::StatusOr<int64_t> Metadata::GetInt(absl::string_view key) const {
  ASSIGN_OR_RETURN(const Value* value, Require(*this, key));
  return std::visit(
      [&](const auto& typed) -> absl::StatusOr<int64_t> {
        using T = std::decay_t<decltype(typed)>;
        if constexpr (kIsInteger<T>) {
          if (!std::in_range<int64_t>(typed)) return WrongType(key, "an integer of 64 bits");
          return static_cast<int64_t>(typed);
        } else {
          return WrongType(key, "an integer");
        }
      },
      *value);
}

absl::StatusOr<double> Metadata::GetFloat(absl::string_view key) const {
  ASSIGN_OR_RETURN(const Value* value, Require(*this, key));
  return std::visit(
      [&](const auto& typed) -> absl::StatusOr<double> {
        using T = std::decay_t<decltype(typed)>;
        if constexpr (std::is_arithmetic_v<T> && !std::is_same_v<T, bool>) {
          return static_cast<double>(typed);
        } else {
          return WrongType(key, "a number");
        }
      },
      *value);
}

absl::StatusOr<bool> Metadata::GetBool(absl::string_view key) const {
  ASSIGN_OR_RETURN(const bool* value, RequireType<bool>(*this, key, "a boolean"));
  return *value;
}

absl::StatusOr<absl::string_view> Metadata::GetString(absl::string_view key) const {
  ASSIGN_OR_RETURN(const std::string* value, RequireType<std::string>(*this, key, "a string"));
  return absl::string_view(*value);
}

absl::StatusOr<std::vector<int64_t>> Metadata::GetInts(absl::string_view key) const {
  ASSIGN_OR_RETURN(const Value* value, Require(*this, key));
  return std::visit(
      [&](const auto& typed) -> absl::StatusOr<std::vector<int64_t>> {
        using Element = typename ElementOf<std::decay_t<decltype(typed)>>::type;
        if constexpr (kIsInteger<Element>) {
          for (const Element element : typed) {
            if (!std::in_range<int64_t>(element)) {
              return WrongType(key, "an array of integers of 64 bits");
            }
          }
          return std::vector<int64_t>(typed.begin(), typed.end());
        } else {
          return WrongType(key, "an array of integers");
        }
      },
      *value);
}

absl::StatusOr<std::vector<bool>> Metadata::GetBools(absl::string_view key) const {
  ASSIGN_OR_RETURN(const std::vector<bool>* value,
                   RequireType<std::vector<bool>>(*this, key, "an array of booleans"));
  return *value;
}

absl::StatusOr<const std::vector<std::string>*> Metadata::GetStrings(absl::string_view key) const {
  return RequireType<std::vector<std::string>>(*this, key, "an array of strings");
}

}  // namespace facet
