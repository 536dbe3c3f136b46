#include "partitioner/graph/record_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace tracelift::partitioner {
namespace {

bool IsPlainCharacter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '.' ||
         c == ':' || c == '+' || c == '-' || c == '/' || c == '>';
}

bool IsSpace(char c) { return c == ' ' || c == '\t' || c == '\r'; }

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

std::unexpected<std::string> LineError(int line, std::string_view token, std::string_view problem) {
  return std::unexpected(fmt::format("line {}: {}: {}", line, Quote(token.substr(0, 80)), problem));
}

/// One line's text with a position in it.
class Scanner {
 public:
  Scanner(std::string_view text, int line) : text_(text), line_(line) {}

  std::expected<Record, std::string> Read() {
    Record record;
    record.line = line_;
    for (;;) {
      while (at_ < text_.size() && IsSpace(text_[at_])) ++at_;
      if (at_ == text_.size() || text_[at_] == '#') return record;
      size_t begin = at_;
      auto token = Token();
      if (!token) return std::unexpected(token.error());
      bool is_key = at_ < text_.size() && text_[at_] == '=';
      if (!is_key) {
        record.words.push_back(std::move(*token));
      } else {
        ++at_;
        if (text_[begin] == '"') return LineError(line_, *token, "a key must be a plain word");
        auto value = Token();
        if (!value) return std::unexpected(value.error());
        record.attributes.emplace_back(std::move(*token), std::move(*value));
      }
      if (at_ < text_.size() && !IsSpace(text_[at_]) && text_[at_] != '#') {
        return LineError(line_, text_.substr(begin), "expected a space after this token");
      }
    }
  }

 private:
  std::expected<std::string, std::string> Token() {
    if (at_ < text_.size() && text_[at_] == '"') return Quoted();
    size_t begin = at_;
    while (at_ < text_.size() && IsPlainCharacter(text_[at_])) ++at_;
    if (at_ == begin) return LineError(line_, text_.substr(begin), "expected a word, a number or a quoted string");
    return std::string(text_.substr(begin, at_ - begin));
  }

  std::expected<std::string, std::string> Quoted() {
    size_t begin = at_++;
    std::string value;
    for (; at_ < text_.size(); ++at_) {
      char c = text_[at_];
      if (c == '"') {
        ++at_;
        return value;
      }
      if (c != '\\') {
        value += c;
        continue;
      }
      char escape = at_ + 1 < text_.size() ? text_[at_ + 1] : 0;
      if (escape == '"' || escape == '\\') {
        value += escape;
        ++at_;
      } else if (escape == 'x' && at_ + 3 < text_.size() && HexDigit(text_[at_ + 2]) >= 0 &&
                 HexDigit(text_[at_ + 3]) >= 0) {
        value += static_cast<char>(HexDigit(text_[at_ + 2]) * 16 + HexDigit(text_[at_ + 3]));
        at_ += 3;
      } else {
        return LineError(line_, text_.substr(at_), "unknown escape; known are \\\" \\\\ and \\xHH");
      }
    }
    return LineError(line_, text_.substr(begin), "the string does not end on its line");
  }

  std::string_view text_;
  int line_;
  size_t at_ = 0;
};

template <typename T>
bool ParseNumber(std::string_view text, T* out) {
  T value{};
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return false;
  *out = value;
  return true;
}

}  // namespace

std::expected<std::vector<Record>, std::string> ReadRecords(std::string_view text) {
  std::vector<Record> records;
  for (int line = 1; !text.empty(); ++line) {
    size_t end = std::min(text.find('\n'), text.size());
    auto record = Scanner(text.substr(0, end), line).Read();
    if (!record) return std::unexpected(record.error());
    if (!record->words.empty() || !record->attributes.empty()) records.push_back(std::move(*record));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return records;
}

bool IsPlainName(std::string_view text) { return !text.empty() && std::ranges::all_of(text, IsPlainCharacter); }

std::string Quote(std::string_view text) {
  if (IsPlainName(text)) return std::string(text);
  std::string quoted = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') {
      quoted += '\\';
      quoted += c;
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      quoted += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    } else {
      quoted += c;
    }
  }
  return quoted + '"';
}

void RecordReader::Fail(std::string_view token, std::string_view problem) {
  if (error_.empty()) error_ = LineError(record_.line, token, problem).error();
}

void RecordReader::Word(size_t index, std::string* out) {
  if (index < record_.words.size()) {
    *out = record_.words[index];
  } else {
    Fail(record_.words.empty() ? "" : record_.words.back(), "the line ends too early");
  }
}

void RecordReader::Word(size_t index, uint32_t* out) {
  std::string text;
  Word(index, &text);
  if (error_.empty() && !ParseNumber(text, out)) Fail(text, "expected a whole number");
}

const std::string* RecordReader::Find(std::string_view key) {
  const std::string* found = nullptr;
  for (size_t i = 0; i < record_.attributes.size(); ++i) {
    if (record_.attributes[i].first != key) continue;
    if (found != nullptr) Fail(key, "this key is given twice");
    found = &record_.attributes[i].second;
    used_[i] = true;
  }
  return found;
}

void RecordReader::Attribute(std::string_view key, std::string* out) {
  if (const std::string* value = Find(key)) *out = *value;
}

void RecordReader::Attribute(std::string_view key, uint64_t* out) {
  const std::string* value = Find(key);
  if (value != nullptr && !ParseNumber(*value, out)) {
    Fail(fmt::format("{}={}", key, *value), "expected a whole number of at least 0");
  }
}

void RecordReader::Attribute(std::string_view key, uint32_t* out) {
  const std::string* value = Find(key);
  if (value != nullptr && !ParseNumber(*value, out)) {
    Fail(fmt::format("{}={}", key, *value), "expected a whole number from 0 to 4294967295");
  }
}

void RecordReader::Attribute(std::string_view key, double* out) {
  const std::string* value = Find(key);
  if (value != nullptr && !ParseNumber(*value, out)) Fail(fmt::format("{}={}", key, *value), "expected a number");
}

void RecordReader::Attribute(std::string_view key, bool* out) {
  const std::string* value = Find(key);
  if (value == nullptr) return;
  if (*value != "yes" && *value != "no") Fail(fmt::format("{}={}", key, *value), "expected yes or no");
  *out = *value == "yes";
}

std::vector<std::pair<std::string, double>> RecordReader::Numbers(std::string_view prefix) {
  std::vector<std::pair<std::string, double>> numbers;
  for (size_t i = 0; i < record_.attributes.size(); ++i) {
    const auto& [key, value] = record_.attributes[i];
    if (key.size() <= prefix.size() + 1 || !key.starts_with(prefix) || key[prefix.size()] != '.') continue;
    used_[i] = true;
    double number = 0;
    if (!ParseNumber(value, &number)) Fail(fmt::format("{}={}", key, value), "expected a number");
    std::string name = key.substr(prefix.size() + 1);
    if (std::ranges::any_of(numbers, [&](const auto& other) { return other.first == name; })) {
      Fail(key, "this key is given twice");
    }
    numbers.emplace_back(std::move(name), number);
  }
  return numbers;
}

std::expected<void, std::string> RecordReader::Finish(size_t words) {
  if (record_.words.size() > words) Fail(record_.words[words], "the line should have ended before this token");
  for (size_t i = 0; i < used_.size(); ++i) {
    if (!used_[i]) Fail(record_.attributes[i].first, "this key is not known here");
  }
  if (!error_.empty()) return std::unexpected(error_);
  return {};
}

}  // namespace tracelift::partitioner
