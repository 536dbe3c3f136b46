// The report's file format: one JSON object, {"format": "tracelift-report", "version": N, ...}.
//
// One list of fields (Visit) serves writing and reading, so the two cannot drift apart. Reading is strict: every
// field of the version must be there with its type, so a damaged file is named as such instead of showing zeros;
// fields that are not known are ignored. A timing that is not a finite number is written as null.
#include <fmt/format.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <type_traits>

#include "profiler/run_report.h"

namespace tracelift::profiler {
namespace {

using Json = nlohmann::ordered_json;

constexpr char kFormat[] = "tracelift-report";

template <typename Archive, typename T>
void Visit(Archive& archive, T& value) requires std::is_same_v<std::remove_const_t<T>, Timing> {
  archive("count", value.count);
  archive("median_ns", value.median_ns);
  archive("low_ns", value.low_ns);
  archive("high_ns", value.high_ns);
}

template <typename Archive, typename T>
void Visit(Archive& archive, T& value) requires std::is_same_v<std::remove_const_t<T>, VariantReport> {
  archive("transformation", value.transformation);
  archive("state", value.state);
  archive("pass", value.pass);
}

template <typename Archive, typename T>
void Visit(Archive& archive, T& value) requires std::is_same_v<std::remove_const_t<T>, RegionReport> {
  archive("module", value.module);
  archive("offset", value.offset);
  archive("symbol", value.symbol);
  archive("source", value.source);
  archive("callers", value.callers);
  archive("sample_share", value.sample_share);
  archive("samples", value.samples);
  archive("state", value.state);
  archive("place", value.place);
  archive("executions", value.executions);
  archive("declines", value.declines);
  archive("passes", value.passes);
  archive("native", value.native);
  archive("variant", value.variant);
  archive("time_saved_ns", value.time_saved_ns);
  archive("verified", value.verified);
  archive("transformation", value.transformation);
  archive("variants", value.variants);
  archive("reason", value.reason);
  archive("reason_text", value.reason_text);
  archive("decline_reasons", value.decline_reasons);
  archive("heat_to_run_ms", value.heat_to_run_ms);
  archive("lift_ms", value.lift_ms);
  archive("analyse_ms", value.analyse_ms);
  archive("optimise_ms", value.optimise_ms);
  archive("emit_ms", value.emit_ms);
  archive("from_cache", value.from_cache);
  archive("fetch_ms", value.fetch_ms);
  archive("ir", value.ir);
}

template <typename Archive, typename T>
void Visit(Archive& archive, T& value) requires std::is_same_v<std::remove_const_t<T>, RunReport> {
  archive("tracelift_version", value.tracelift_version);
  archive("command", value.command);
  archive("pid", value.pid);
  archive("machine", value.machine);
  archive("target_cpu", value.target_cpu);
  archive("state", value.state);
  archive("wall_ms", value.wall_ms);
  archive("cpu_ms", value.cpu_ms);
  archive("samples", value.samples);
  archive("lost_samples", value.lost_samples);
  archive("sampling_source", value.sampling_source);
  archive("sampling_cost_ms", value.sampling_cost_ms);
  archive("compile_ms", value.compile_ms);
  archive("load_ms", value.load_ms);
  archive("time_saved_ms", value.time_saved_ms);
  archive("cache", value.cache);
  archive("graph", value.graph);
  archive("plan", value.plan);
  archive("notes", value.notes);
  archive("regions", value.regions);
}

template <typename T>
inline constexpr bool kIsObject = std::is_same_v<T, Timing> || std::is_same_v<T, VariantReport> || std::is_same_v<T, RegionReport>;

class Writer {
 public:
  explicit Writer(Json* object) : object_(object) {}

  template <typename T>
  void operator()(const char* key, const T& value) {
    (*object_)[key] = Encode(value);
  }

 private:
  static Json Encode(const std::string& value) { return value; }
  static Json Encode(uint64_t value) { return value; }
  static Json Encode(int64_t value) { return value; }
  static Json Encode(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }
  static Json Encode(const std::pair<std::string, uint64_t>& value) { return Json::array({value.first, value.second}); }
  template <typename T>
  static Json Encode(const std::vector<T>& values) {
    Json array = Json::array();
    for (const T& value : values) array.push_back(Encode(value));
    return array;
  }
  template <typename T>
  requires kIsObject<T>
  static Json Encode(const T& value) {
    Json object = Json::object();
    Writer writer(&object);
    Visit(writer, value);
    return object;
  }

  Json* object_;
};

/// Reads fields of one object; the first problem is kept in `error`, with the path of the field ("regions[2].share").
class Reader {
 public:
  Reader(const Json& object, std::string path, std::string* error)
      : object_(object), path_(std::move(path)), error_(error) {}

  template <typename T>
  void operator()(const char* key, T& value) {
    if (!error_->empty()) return;
    std::string path = path_.empty() ? key : path_ + "." + key;
    if (!object_.is_object()) return Fail(path_, "an object", object_);
    auto it = object_.find(key);
    if (it == object_.end()) {
      *error_ = fmt::format("field '{}' is missing", path);
      return;
    }
    Decode(*it, path, value);
  }

 private:
  void Fail(const std::string& path, const char* expected, const Json& found) {
    if (error_->empty()) *error_ = fmt::format("field '{}' should be {}, found {}", path, expected, Kind(found));
  }
  static std::string Kind(const Json& value) { return value.is_number() ? value.dump() : value.type_name(); }

  void Decode(const Json& json, const std::string& path, std::string& value) {
    if (!json.is_string()) return Fail(path, "a string", json);
    value = json.get<std::string>();
  }
  void Decode(const Json& json, const std::string& path, uint64_t& value) {
    if (!json.is_number_unsigned()) return Fail(path, "a whole number of at least 0", json);
    value = json.get<uint64_t>();
  }
  void Decode(const Json& json, const std::string& path, int64_t& value) {
    bool fits = json.is_number_unsigned()
                    ? json.get<uint64_t>() <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max())
                    : json.is_number_integer();
    if (!fits) return Fail(path, "a whole number", json);
    value = json.get<int64_t>();
  }
  void Decode(const Json& json, const std::string& path, double& value) {
    if (json.is_null()) {
      value = std::numeric_limits<double>::quiet_NaN();
    } else if (json.is_number()) {
      value = json.get<double>();
    } else {
      Fail(path, "a number or null", json);
    }
  }
  void Decode(const Json& json, const std::string& path, std::pair<std::string, uint64_t>& value) {
    if (!json.is_array() || json.size() != 2) return Fail(path, "a pair [reason, count]", json);
    Decode(json[0], path + "[0]", value.first);
    Decode(json[1], path + "[1]", value.second);
  }
  template <typename T>
  void Decode(const Json& json, const std::string& path, std::vector<T>& values) {
    if (!json.is_array()) return Fail(path, "a list", json);
    values.clear();
    for (size_t i = 0; i < json.size() && error_->empty(); ++i) {
      Decode(json[i], fmt::format("{}[{}]", path, i), values.emplace_back());
    }
  }
  template <typename T>
  requires kIsObject<T>
  void Decode(const Json& json, const std::string& path, T& value) {
    if (!json.is_object()) return Fail(path, "an object", json);
    Reader reader(json, path, error_);
    Visit(reader, value);
  }

  const Json& object_;
  std::string path_;
  std::string* error_;
};

std::expected<RunReport, std::string> Parse(const std::string& text) {
  if (text.find_first_not_of(" \t\r\n") == std::string::npos) {
    return std::unexpected("the report is empty; was the program stopped before it could write it?");
  }
  Json json;
  size_t parsed_to = 0;
  try {
    json = Json::parse(text);
  } catch (const Json::parse_error& error) {
    parsed_to = error.byte;
    bool looks_like_ours = text.substr(0, 200).find(kFormat) != std::string::npos;
    if (!looks_like_ours) return std::unexpected("not a tracelift report: it is not JSON");
    const char* kind = parsed_to > text.size() ? "cut off" : "damaged";
    return std::unexpected(fmt::format("the report is {} at byte {} of {}; run the program again to get a new one",
                                       kind, parsed_to == 0 ? 0 : parsed_to - 1, text.size()));
  }
  if (!json.is_object() || !json.contains("format") || json["format"] != kFormat) {
    return std::unexpected("not a tracelift report: it is JSON, but has no \"format\": \"tracelift-report\"");
  }
  RunReport report;
  if (!json.contains("version") || !json["version"].is_number_integer()) {
    return std::unexpected("the report is damaged: it has no version number");
  }
  if (json["version"] != kReportVersion) {
    return std::unexpected(
        fmt::format("the report has version {}, this tracelift reads {}; use the tracelift that wrote it ({})",
                    json["version"].dump(), kReportVersion, json.value("tracelift_version", Json("unknown")).dump()));
  }
  std::string error;
  Reader reader(json, "", &error);
  Visit(reader, report);
  if (!error.empty()) return std::unexpected("the report is damaged: " + error);
  return report;
}

}  // namespace

std::string ToJson(const RunReport& report) {
  Json json = Json::object();
  json["format"] = kFormat;
  json["version"] = report.version;
  Writer writer(&json);
  Visit(writer, report);
  // File names and arguments are bytes, JSON is UTF-8: what is not valid is replaced, never a reason to fail.
  return json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::expected<RunReport, std::string> FromJson(const std::string& text) {
  try {
    return Parse(text);
  } catch (const std::exception& error) {
    return std::unexpected(fmt::format("the report could not be read: {}", error.what()));
  }
}

}  // namespace tracelift::profiler
