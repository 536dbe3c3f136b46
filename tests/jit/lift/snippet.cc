#include "tests/jit/lift/snippet.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>

namespace tracelift::jit {
namespace {

struct Width {
  const char* a;
  const char* b;
  const char* c;
  const char* memory;
};
constexpr Width kWidths[] = {{"al", "cl", "dl", "byte ptr "},
                             {"ax", "cx", "dx", "word ptr "},
                             {"eax", "ecx", "edx", "dword ptr "},
                             {"rax", "rcx", "rdx", "qword ptr "}};

void ReplaceAll(std::string* text, const std::string& from, const std::string& to) {
  for (size_t at = 0; (at = text->find(from, at)) != std::string::npos; at += to.size()) {
    text->replace(at, from.size(), to);
  }
}

void ExpandAlternatives(const std::string& text, std::vector<std::string>* out) {
  const size_t close = text.find('}');
  if (close == std::string::npos) {
    std::string plain = text;
    std::replace(plain.begin(), plain.end(), '<', '{');
    std::replace(plain.begin(), plain.end(), '>', '}');
    out->push_back(std::move(plain));
    return;
  }
  const size_t open = text.rfind('{', close);
  size_t begin = open + 1;
  while (begin <= close) {
    const size_t end = std::min(text.find('|', begin), close);
    ExpandAlternatives(text.substr(0, open) + text.substr(begin, end - begin) + text.substr(close + 1), out);
    begin = end + 1;
  }
}

}  // namespace

std::vector<std::string> ExpandTemplate(const std::string& line) {
  std::string body = line;
  int first = 0, last = 3;
  const size_t colon = line.find(": ");
  if (colon != std::string::npos && colon < 4) {
    const int bits = std::atoi(line.c_str());
    first = bits == 8 ? 0 : bits == 16 ? 1 : bits == 32 ? 2 : 3;
    if (line[colon - 1] != '+') last = first;
    body = line.substr(colon + 2);
  }
  std::vector<std::string> alternatives;
  ExpandAlternatives(body, &alternatives);
  std::vector<std::string> result;
  for (const std::string& alternative : alternatives) {
    bool has_width = false;
    for (const char* mark : {"@a", "@b", "@c", "@m"}) has_width |= alternative.find(mark) != std::string::npos;
    if (!has_width) {
      result.push_back(alternative);
      continue;
    }
    for (int i = first; i <= last; ++i) {
      std::string text = alternative;
      ReplaceAll(&text, "@a", kWidths[i].a);
      ReplaceAll(&text, "@b", kWidths[i].b);
      ReplaceAll(&text, "@c", kWidths[i].c);
      ReplaceAll(&text, "@m", std::string(kWidths[i].memory) + "[rdi+8]");
      result.push_back(text);
    }
  }
  return result;
}

std::vector<std::string> ReadCases(const std::string& path) {
  std::ifstream file(path);
  if (!file) {
    std::fprintf(stderr, "%s: cannot be read\n", path.c_str());
    std::abort();
  }
  std::vector<std::string> result;
  for (std::string line; std::getline(file, line);) {
    line = line.substr(0, line.find('#'));
    while (!line.empty() && line.back() == ' ') line.pop_back();
    if (line.empty()) continue;
    for (std::string& snippet : ExpandTemplate(line)) result.push_back(std::move(snippet));
  }
  return result;
}

}  // namespace tracelift::jit
