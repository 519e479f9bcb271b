#include "base/log.h"

#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>

#include "absl/flags/flag.h"
#include "absl/strings/str_cat.h"
#include "base/flags.h"
#include "spdlog/sinks/stdout_sinks.h"
#include "spdlog/spdlog.h"

ABSL_FLAG(std::string, log_level, "info", "What is logged: debug, info, warning, error or off.");

namespace facet {
namespace {

std::string Quoted(absl::string_view text) {
  return boost::json::serialize(
      boost::json::value(boost::json::string_view(text.data(), text.size())));
}

std::string Pattern(absl::string_view process) {
  // A % in the name would be one of spdlog's codes; our names have none.
  return absl::StrCat(R"({"time":"%Y-%m-%dT%H:%M:%S.%eZ","level":"%l","process":)", Quoted(process),
                      ",%v}");
}

std::unique_ptr<spdlog::logger> MakeLogger(absl::string_view process) {
  auto logger =
      std::make_unique<spdlog::logger>("facet", std::make_shared<spdlog::sinks::stderr_sink_mt>());
  logger->set_pattern(Pattern(process), spdlog::pattern_time_type::utc);
  logger->flush_on(spdlog::level::debug);
  logger->set_level(spdlog::level::info);
  return logger;
}

// Leaked, so that threads may log until the very end of the process.
spdlog::logger& Logger() {
  static spdlog::logger& logger = *MakeLogger("facet").release();
  return logger;
}

spdlog::level::level_enum SpdlogLevel(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarning:
      return spdlog::level::warn;
    case LogLevel::kError:
      return spdlog::level::err;
  }
  return spdlog::level::info;
}

struct AppendValue {
  std::string* text;
  void operator()(absl::string_view value) const { absl::StrAppend(text, Quoted(value)); }
  void operator()(bool value) const { absl::StrAppend(text, value ? "true" : "false"); }
  void operator()(int64_t value) const { absl::StrAppend(text, value); }
  void operator()(double value) const {
    // JSON has no NaN and no infinity.
    if (std::isfinite(value)) {
      absl::StrAppend(text, value);
    } else {
      absl::StrAppend(text, "null");
    }
  }
};

}  // namespace

void StartLog(absl::string_view process) {
  const std::map<std::string, spdlog::level::level_enum> levels = {{"debug", spdlog::level::debug},
                                                                   {"info", spdlog::level::info},
                                                                   {"warning", spdlog::level::warn},
                                                                   {"error", spdlog::level::err},
                                                                   {"off", spdlog::level::off}};
  const auto level = levels.find(absl::GetFlag(FLAGS_log_level));
  if (level == levels.end()) {
    std::fprintf(stderr, "ERROR: --log_level=%s: use debug, info, warning, error or off\n",
                 absl::GetFlag(FLAGS_log_level).c_str());
    std::exit(1);
  }
  Logger().set_pattern(Pattern(process), spdlog::pattern_time_type::utc);
  Logger().set_level(level->second);
}

bool IsLogged(LogLevel level) { return Logger().should_log(SpdlogLevel(level)); }

void Log(LogLevel level, absl::string_view message, const std::vector<LogField>& fields) {
  if (!IsLogged(level)) return;
  const std::string body = LogBody(message, fields);
  Logger().log(SpdlogLevel(level), spdlog::string_view_t(body.data(), body.size()));
}

void LogEffectiveFlags() {
  const std::map<std::string, std::string> flags = EffectiveFlags();
  std::vector<LogField> fields;
  fields.reserve(flags.size());
  for (const auto& [name, value] : flags) fields.emplace_back(name, value);
  LogInfo("starting", fields);
}

std::string LogBody(absl::string_view message, const std::vector<LogField>& fields) {
  std::string text = absl::StrCat("\"message\":", Quoted(message));
  for (const LogField& field : fields) {
    absl::StrAppend(&text, ",", Quoted(field.name), ":");
    std::visit(AppendValue{&text}, field.value);
  }
  return text;
}

}  // namespace facet
