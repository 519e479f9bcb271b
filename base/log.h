#ifndef FACET_BASE_LOG_H_
#define FACET_BASE_LOG_H_

#include <concepts>
#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "absl/strings/string_view.h"

namespace facet {

// The log of a process: one JSON object a line on stderr, as log collectors read it:
//   {"time":"2026-01-31T10:00:00.000Z","level":"info","process":"router","message":"...",...}
// Log what an operator would act on, once; everything else is a metric. All functions may be called
// from any thread. `--log_level` (debug, info, warning, error, off) sets what is shown.

enum class LogLevel { kDebug, kInfo, kWarning, kError };

// A named value beside the message. Views must live until Log returns.
struct LogField {
  LogField(absl::string_view name, absl::string_view value) : name(name), value(value) {}
  LogField(absl::string_view name, const std::string& value)
      : name(name), value(absl::string_view(value)) {}
  LogField(absl::string_view name, const char* value)
      : name(name), value(absl::string_view(value)) {}
  LogField(absl::string_view name, bool value) : name(name), value(value) {}
  LogField(absl::string_view name, double value) : name(name), value(value) {}
  template <std::integral T>
  LogField(absl::string_view name, T value) : name(name), value(static_cast<int64_t>(value)) {}

  absl::string_view name;
  std::variant<absl::string_view, bool, double, int64_t> value;
};

// Applies `--log_level` and names the process in each line. Call once after ParseFlags; before
// that, lines are shown from level info on under the name "facet".
void StartLog(absl::string_view process);

// For those whose message is dear to make.
bool IsLogged(LogLevel level);
void Log(LogLevel level, absl::string_view message, const std::vector<LogField>& fields = {});
inline void LogInfo(absl::string_view message, const std::vector<LogField>& fields = {}) {
  Log(LogLevel::kInfo, message, fields);
}
inline void LogWarning(absl::string_view message, const std::vector<LogField>& fields = {}) {
  Log(LogLevel::kWarning, message, fields);
}
inline void LogError(absl::string_view message, const std::vector<LogField>& fields = {}) {
  Log(LogLevel::kError, message, fields);
}

// One line saying that the process starts, with EffectiveFlags() as fields.
void LogEffectiveFlags();

// The part of a line after "process": `"message":"...","name":value,...`. For tests.
std::string LogBody(absl::string_view message, const std::vector<LogField>& fields);

}  // namespace facet

#endif  // FACET_BASE_LOG_H_
