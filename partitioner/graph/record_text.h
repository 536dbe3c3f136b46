// The common syntax of graphs, resources and plans as text: one record a line, `word word "quoted word" key=value
// key="quoted value"`, `#` starts a comment. Errors name the line and the token.
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace tracelift::partitioner {

struct Record {
  int line = 0;  // from 1
  std::vector<std::string> words;
  std::vector<std::pair<std::string, std::string>> attributes;
};

std::expected<std::vector<Record>, std::string> ReadRecords(std::string_view text);

/// The text as one token: unchanged when it is a plain word, else in quotes with escapes.
std::string Quote(std::string_view text);
/// True for names that need no quotes and may be keys: letters, digits and _ . : + - / only, not empty.
bool IsPlainName(std::string_view text);

/// Takes typed values out of one record. The first problem is kept; later calls then change nothing.
class RecordReader {
 public:
  explicit RecordReader(const Record& record) : record_(record), used_(record.attributes.size(), false) {}

  void Word(size_t index, std::string* out);
  void Word(size_t index, uint32_t* out);
  /// Attributes are optional: without one, *out stays as it is.
  void Attribute(std::string_view key, std::string* out);
  void Attribute(std::string_view key, uint64_t* out);
  void Attribute(std::string_view key, uint32_t* out);
  void Attribute(std::string_view key, double* out);
  void Attribute(std::string_view key, bool* out);
  /// All attributes "prefix.NAME=number".
  std::vector<std::pair<std::string, double>> Numbers(std::string_view prefix);

  void Fail(std::string_view token, std::string_view problem);
  /// Errors also for words beyond `words` and for attributes that nobody asked for.
  std::expected<void, std::string> Finish(size_t words);

 private:
  const std::string* Find(std::string_view key);

  const Record& record_;
  std::vector<bool> used_;
  std::string error_;
};

}  // namespace tracelift::partitioner
