#include "router/api/structured_output.h"

#include <boost/json.hpp>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"
#include "model/json.h"
#include "model/schema_grammar.h"
#include "router/api/api_error.h"

namespace facet {
namespace {

namespace json = boost::json;
using Kind = StructuredOutput::Kind;

constexpr size_t kChoicesMax = 1000;

absl::string_view View(const json::string& text) { return {text.data(), text.size()}; }

// ------------------------------------------------------------------ what is asked for

absl::Status SetKind(StructuredOutput& structure, Kind kind, const std::string& field) {
  if (structure.kind != Kind::kNone) {
    return InvalidParam(
        field, absl::StrCat("`", field, "` and `", structure.field, "` exclude each other."));
  }
  structure.kind = kind;
  structure.field = field;
  return absl::OkStatus();
}

// A schema as an object, or as its text.
absl::Status SetSchema(const json::value& schema, const std::string& field,
                       StructuredOutput& structure) {
  RETURN_IF_ERROR(SetKind(structure, Kind::kJsonSchema, field));
  if (!schema.is_string()) {
    if (!schema.is_object() && !schema.is_bool()) return WrongValue(field, "a JSON schema", schema);
    structure.schema = std::make_shared<const json::value>(schema);
    return absl::OkStatus();
  }
  absl::StatusOr<json::value> parsed = ParseJson(View(schema.get_string()), field);
  if (!parsed.ok()) return InvalidParam(field, parsed.status().message());
  structure.schema = std::make_shared<const json::value>(*std::move(parsed));
  return absl::OkStatus();
}

absl::Status SetText(const json::value& text, Kind kind, const std::string& field,
                     StructuredOutput& structure) {
  RETURN_IF_ERROR(SetKind(structure, kind, field));
  if (!text.is_string() || text.get_string().empty()) {
    return WrongValue(field, "a string that is not empty", text);
  }
  structure.text = std::string(View(text.get_string()));
  return absl::OkStatus();
}

absl::Status SetChoices(const json::value& choices, const std::string& field,
                        StructuredOutput& structure) {
  RETURN_IF_ERROR(SetKind(structure, Kind::kChoice, field));
  if (!choices.is_array() || choices.get_array().empty() ||
      choices.get_array().size() > kChoicesMax) {
    return InvalidParam(
        field, absl::StrCat("`", field, "` must be a list of 1 to ", kChoicesMax, " strings."));
  }
  for (size_t i = 0; i < choices.get_array().size(); ++i) {
    const json::value& choice = choices.get_array()[i];
    if (!choice.is_string() || choice.get_string().empty()) {
      return WrongValue(absl::StrCat(field, "[", i, "]"), "a string that is not empty", choice);
    }
    structure.choices.emplace_back(View(choice.get_string()));
  }
  return absl::OkStatus();
}

const json::value& AnyObject() {
  static const json::value& schema = *new json::value{{"type", "object"}};
  return schema;
}

absl::Status ParseResponseFormat(const JsonFields& fields, StructuredOutput& structure) {
  ASSIGN_OR_RETURN(const json::object* format, fields.Object("response_format"));
  if (format == nullptr) return absl::OkStatus();
  const JsonFields format_fields(*format, "response_format.");
  std::string type;
  RETURN_IF_ERROR(format_fields.String("type", &type));
  if (type == "text") return absl::OkStatus();
  if (type == "json_object") {
    const json::value* schema = format_fields.Find("schema");
    return schema == nullptr ? SetSchema(AnyObject(), "response_format", structure)
                             : SetSchema(*schema, "response_format.schema", structure);
  }
  if (type != "json_schema") {
    return format_fields.Wrong("type", "\"text\", \"json_object\" or \"json_schema\"");
  }
  ASSIGN_OR_RETURN(const json::object* wrapped, format_fields.Object("json_schema"));
  if (wrapped == nullptr) return format_fields.Wrong("json_schema", "an object with a `schema`");
  const JsonFields wrapped_fields(*wrapped, "response_format.json_schema.");
  // Whether strict or not, the answer is held to the schema.
  bool strict = false;
  std::string ignored;
  RETURN_IF_ERROR(wrapped_fields.Bool("strict", &strict));
  RETURN_IF_ERROR(wrapped_fields.String("name", &ignored));
  RETURN_IF_ERROR(wrapped_fields.String("description", &ignored));
  const json::value* schema = wrapped_fields.Find("schema");
  if (schema == nullptr) return wrapped_fields.Wrong("schema", "a JSON schema");
  return SetSchema(*schema, "response_format.json_schema.schema", structure);
}

// vLLM's names, alone in an object, or with "guided_" before them.
absl::Status ParseNamed(const JsonFields& fields, absl::string_view prefix,
                        StructuredOutput& structure) {
  const auto find = [&](absl::string_view name) { return fields.Find(absl::StrCat(prefix, name)); };
  const auto path = [&](absl::string_view name) {
    return fields.PathOf(absl::StrCat(prefix, name));
  };
  if (const json::value* value = find("json")) {
    RETURN_IF_ERROR(SetSchema(*value, path("json"), structure));
  }
  bool json_object = false;
  RETURN_IF_ERROR(fields.Bool(absl::StrCat(prefix, "json_object"), &json_object));
  if (json_object) RETURN_IF_ERROR(SetSchema(AnyObject(), path("json_object"), structure));
  if (const json::value* value = find("regex")) {
    RETURN_IF_ERROR(SetText(*value, Kind::kRegex, path("regex"), structure));
  }
  if (const json::value* value = find("choice")) {
    RETURN_IF_ERROR(SetChoices(*value, path("choice"), structure));
  }
  if (const json::value* value = find("grammar")) {
    RETURN_IF_ERROR(SetText(*value, Kind::kGrammar, path("grammar"), structure));
  }
  return absl::OkStatus();
}

absl::string_view NameOfTool(const json::value& tool) {
  return View(tool.at("function").at("name").get_string());
}

absl::Status NoSuchTool(const std::string& name) {
  return InvalidParam("tool_choice", absl::StrCat("`tool_choice` names the function `", name,
                                                  "`, which is not one of `tools`."));
}

// --------------------------------------------------------------------- the grammar of it

// One token that is none of `ids`.
std::string AnyTokenBut(const std::vector<int>& ids) {
  return absl::StrCat("ExcludeToken(", absl::StrJoin(ids, ", "), ")");
}

std::string Token(int id) { return absl::StrCat("Token(", id, ")"); }

absl::Status NeedsTokens(const std::string& field) {
  return InvalidParam(field, "This model has no tokens for tool calls.", "unsupported_value");
}

// "`FIELD`: what is wrong": messages of the grammar begin with the place, below the field.
absl::Status Refused(const std::string& field, const absl::Status& status) {
  return InvalidParam(field, absl::StrCat("`", field, "`: ", status.message()));
}

// What stands before the answer: the rest of a thought, or a whole one if the model wants it.
std::string ThoughtGrammar(const Vocabulary& vocabulary, const Prompt& prompt,
                           bool starts_in_channel) {
  const Vocabulary::Roles& roles = vocabulary.roles();
  if (!roles.channel_begin || !roles.channel_end) return "";
  std::vector<int> ends = vocabulary.stop_ids();
  ends.push_back(*roles.channel_end);
  const std::string rest = absl::StrCat(AnyTokenBut(ends), "* ", Token(*roles.channel_end));
  if (starts_in_channel) return absl::StrCat(rest, " ");
  const auto* chat = std::get_if<ChatPrompt>(&prompt);
  const json::value* thinking = chat == nullptr ? nullptr : (*chat)->if_contains("enable_thinking");
  if (thinking == nullptr || !thinking->is_bool() || !thinking->get_bool()) return "";
  return absl::StrCat("(", Token(*roles.channel_begin), " ", rest, ")? ");
}

// `call`, one call of one of the tools, whose arguments fit the declared parameters.
absl::StatusOr<std::string> CallRules(const Vocabulary::Roles& roles,
                                      const StructuredOutput& structure) {
  if (!roles.tool_call_begin || !roles.tool_call_end || !roles.string_quote) {
    return NeedsTokens("tools");
  }
  SchemaGrammar arguments = SchemaGrammar::ToolCall(*roles.string_quote);
  std::vector<std::string> calls;
  static const json::value& no_parameters = *new json::value{
      {"type", "object"}, {"properties", json::object()}, {"additionalProperties", false}};
  for (const json::value& tool : structure.tools->get_array()) {
    const json::object& function = tool.at("function").get_object();
    const json::value* parameters = function.if_contains("parameters");
    const bool none = parameters == nullptr || parameters->is_null() ||
                      (parameters->is_object() && parameters->get_object().empty());
    const std::string field = absl::StrCat("tools.", NameOfTool(tool), ".parameters");
    const absl::StatusOr<std::string> rule =
        arguments.Add(none ? no_parameters : *parameters, field);
    if (!rule.ok()) return Refused("tools", rule.status());
    calls.push_back(absl::StrCat(EbnfString(absl::StrCat("call:", NameOfTool(tool))), " ", *rule));
  }
  return absl::StrCat("facet_call ::= ", Token(*roles.tool_call_begin), " (",
                      absl::StrJoin(calls, " | "), ") ", Token(*roles.tool_call_end), "\n",
                      arguments.Rules());
}

// The rule `facet_content` and those that it needs.
absl::StatusOr<std::string> ContentRules(const StructuredOutput& structure) {
  switch (structure.kind) {
    case Kind::kJsonSchema: {
      SchemaGrammar grammar = SchemaGrammar::Json();
      const absl::StatusOr<std::string> rule = grammar.Add(*structure.schema, "schema");
      if (!rule.ok()) return Refused(structure.field, rule.status());
      return absl::StrCat("facet_content ::= ", *rule, "\n", grammar.Rules());
    }
    case Kind::kRegex: {
      const absl::StatusOr<std::string> regex = EbnfRegex(structure.text, /*json_string=*/false);
      if (!regex.ok()) return Refused(structure.field, regex.status());
      return absl::StrCat("facet_content ::= ", *regex, "\n");
    }
    case Kind::kChoice:
      return absl::StrCat("facet_content ::= ",
                          absl::StrJoin(structure.choices, " | ",
                                        [](std::string* out, const std::string& choice) {
                                          absl::StrAppend(out, EbnfString(choice));
                                        }),
                          "\n");
    case Kind::kGrammar:
      return absl::StrCat("facet_content ::= root\n", structure.text, "\n");
    case Kind::kNone:
      break;
  }
  return "";
}

// Text with at most one call in it, whatever its arguments are.
absl::StatusOr<std::string> TextAndOneCall(const Vocabulary& vocabulary) {
  const Vocabulary::Roles& roles = vocabulary.roles();
  if (!roles.tool_call_begin || !roles.tool_call_end) return NeedsTokens("parallel_tool_calls");
  std::vector<int> ends = vocabulary.stop_ids();
  ends.push_back(*roles.tool_call_begin);
  const std::string text = AnyTokenBut(ends);
  ends.push_back(*roles.tool_call_end);
  return absl::StrCat(text, "* (", Token(*roles.tool_call_begin), " ", AnyTokenBut(ends), "* ",
                      Token(*roles.tool_call_end), ")?");
}

}  // namespace

absl::Status ParseStructuredOutput(const JsonFields& fields, StructuredOutput& structure) {
  RETURN_IF_ERROR(ParseResponseFormat(fields, structure));
  ASSIGN_OR_RETURN(const json::object* named, fields.Object("structured_outputs"));
  if (named != nullptr) {
    const JsonFields named_fields(*named, "structured_outputs.");
    RETURN_IF_ERROR(ParseNamed(named_fields, "", structure));
  }
  return ParseNamed(fields, "guided_", structure);
}

absl::StatusOr<bool> ParseToolChoice(const JsonFields& fields, StructuredOutput& structure) {
  bool parallel = true;
  RETURN_IF_ERROR(fields.Bool("parallel_tool_calls", &parallel));
  ASSIGN_OR_RETURN(const json::array* tools, fields.Array("tools"));
  const bool any = tools != nullptr && !tools->empty();
  const json::value* choice = fields.Find("tool_choice");
  const std::string mode(choice == nullptr     ? "auto"
                         : choice->is_string() ? View(choice->get_string())
                                               : "");
  if (mode == "none") return false;
  json::array callable;
  if (any) callable = *tools;
  if (mode == "required") {
    if (!any) return InvalidParam("tool_choice", "`tool_choice` is \"required\" without `tools`.");
    structure.must_call = true;
  } else if (choice != nullptr && choice->is_object()) {
    const JsonFields choice_fields(choice->get_object(), "tool_choice.");
    std::string type, name;
    RETURN_IF_ERROR(choice_fields.String("type", &type));
    if (type != "function") return choice_fields.Wrong("type", "\"function\"");
    ASSIGN_OR_RETURN(const json::object* function, choice_fields.Object("function"));
    if (function == nullptr) return choice_fields.Wrong("function", "an object with a `name`");
    RETURN_IF_ERROR(JsonFields(*function, "tool_choice.function.").String("name", &name));
    json::array named;
    for (const json::value& tool : callable) {
      if (NameOfTool(tool) == name) named.push_back(tool);
    }
    callable = std::move(named);
    if (callable.empty()) return NoSuchTool(name);
    structure.must_call = true;
  } else if (mode != "auto") {
    return InvalidParam("tool_choice",
                        "`tool_choice` must be \"auto\", \"none\", \"required\" or an object that "
                        "names a function.");
  }
  structure.one_call_at_most = any && !parallel;
  if (!callable.empty()) {
    structure.tools = std::make_shared<const json::value>(std::move(callable));
  }
  return any;
}

absl::StatusOr<std::string> BuildGrammar(const ServedModel& model, const GenerationRequest& request,
                                         const Prompt& prompt, bool starts_in_channel) {
  const StructuredOutput& structure = request.structure;
  if (!structure.constrains()) return "";
  std::string field = structure.field;
  if (structure.must_call) field = "tool_choice";
  if (field.empty()) field = "parallel_tool_calls";
  if (model.grammar_checker == nullptr) {
    return InvalidParam(field, "This server was built without structured output.",
                        "unsupported_value");
  }
  if (request.ignore_eos) {
    return InvalidParam("ignore_eos", absl::StrCat("`ignore_eos` and `", field,
                                                   "` exclude each other: the answer must end."));
  }
  const bool content = structure.kind != Kind::kNone && !structure.must_call;
  const bool calls = structure.must_call || (content && structure.tools != nullptr);
  std::string answer, rules;
  if (content) {
    ASSIGN_OR_RETURN(rules, ContentRules(structure));
    answer = "facet_content";
  }
  if (calls) {
    ASSIGN_OR_RETURN(const std::string call, CallRules(model.vocabulary->roles(), structure));
    absl::StrAppend(&rules, call);
    absl::StrAppend(&answer, content ? " | " : "", "facet_call",
                    structure.one_call_at_most ? "" : "+");
  }
  if (!content && !calls) {
    ASSIGN_OR_RETURN(answer, TextAndOneCall(*model.vocabulary));
  }
  const std::string ebnf = absl::StrCat(
      "facet_answer ::= ", ThoughtGrammar(*model.vocabulary, prompt, starts_in_channel), "(",
      answer, ")\n", rules);
  const absl::Status status = model.grammar_checker->Check(ebnf);
  if (!status.ok()) return Refused(field, status);
  return ebnf;
}

}  // namespace facet
