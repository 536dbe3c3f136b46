#include "profiler/preload/config.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "profiler/preload/raw_syscalls.h"

namespace tracelift::preload {
namespace {

constexpr char kPrefix[] = "TRACELIFT_";

bool Invalid(const Options& options, const char* name, const char* value) {
  if (options.config.log >= 1) dprintf(2, "tracelift: TRACELIFT_%s=%s is not valid; using the default\n", name, value);
  return false;
}

bool ParseInt(const char* text, long low, long high, int* out) {
  char* end = nullptr;
  const long value = strtol(text, &end, 10);
  if (end == text || *end != 0 || value < low || value > high) return false;
  *out = static_cast<int>(value);
  return true;
}

/// The position of `text` in a list of words separated by '|'.
bool ParseWord(const char* text, const char* words, int* out) {
  const size_t length = strlen(text);
  for (int i = 0; *words; ++i) {
    const char* end = strchrnul(words, '|');
    if (static_cast<size_t>(end - words) == length && memcmp(words, text, length) == 0) {
      *out = i;
      return true;
    }
    words = *end ? end + 1 : end;
  }
  return false;
}

bool CopyText(const char* text, char* out, size_t size) {
  const size_t length = strlen(text);
  if (length >= size) return false;
  memcpy(out, text, length + 1);
  return true;
}

bool CopyPath(const char* text, char* out, size_t size) {
  if (text[0] == '/' || text[0] == 0) return CopyText(text, out, size);
  const long with_end = Syscall(SYS_getcwd, AsLong(out), static_cast<long>(size));
  if (with_end <= 1 || out[0] != '/') return CopyText(text, out, size);
  size_t length = static_cast<size_t>(with_end) - 1;
  if (length + 1 + strlen(text) >= size) {
    out[0] = 0;
    return false;
  }
  if (out[length - 1] != '/') out[length++] = '/';
  strcpy(out + length, text);
  return true;
}

bool Set(const char* name, const char* value, Options* options) {
  TlConfig& config = options->config;
  int word = 0;
  const auto is = [&](const char* option) { return strcmp(name, option) == 0; };
  if (is("REPORT")) return CopyPath(value, config.report, sizeof(config.report));
  if (is("CACHE")) {
    return strcmp(value, "off") == 0 ? CopyText(value, config.cache, sizeof(config.cache))
                                     : CopyPath(value, config.cache, sizeof(config.cache));
  }
  if (is("CACHE_SIZE")) return ParseInt(value, 0, 1 << 20, &config.cache_mib);
  if (is("KERNELS")) return CopyPath(value, config.kernels, sizeof(config.kernels));
  if (is("DEVICES")) return CopyText(value, config.devices, sizeof(config.devices));
  if (is("THREADS")) return ParseInt(value, 0, 4096, &config.threads);
  if (is("MATH")) return ParseWord(value, "strict|relaxed", &config.relaxed_math);
  if (is("VERIFY")) return ParseWord(value, "off|first|always", &config.verify);
  if (is("PROFILE_ONLY")) return ParseInt(value, 0, 1, &config.profile_only);
  if (is("SUMMARY")) return ParseInt(value, 0, 1, &config.summary);
  if (is("CHILDREN")) return ParseWord(value, "leave|follow", &config.follow_children);
  if (is("SAMPLE_HZ")) return ParseInt(value, 10, 10000, &config.sample_hz);
  if (is("HOT_MS")) return ParseInt(value, 0, 1'000'000, &config.hot_ms);
  if (is("LOG")) return ParseInt(value, 0, 2, &config.log);
  if (is("ROOT_PID")) return ParseInt(value, 0, 1 << 30, &config.root_pid);
  if (is("OFF")) {
    if (!ParseInt(value, 0, 1, &word)) return false;
    options->off = word == 1;
    return true;
  }
  if (is("SAMPLER")) {
    if (!ParseWord(value, "perf|timer", &word)) return false;
    options->timer_sampler = word == 1;
    return true;
  }
  return true;  // somebody else's, or of a later version
}

/// Does the environment that the process `pid` was started with ask for the same report? Then it is traced as well.
bool IsTraced(int pid, const char* report) {
  char name[64];
  snprintf(name, sizeof(name), "/proc/%d/environ", pid);
  static char text[65536];
  const long length = ReadSmallFile(name, text, sizeof(text));
  bool preloaded = false;
  bool same_report = report[0] == 0;
  for (long at = 0; at < length; at += static_cast<long>(strlen(text + at)) + 1) {
    const char* entry = text + at;
    if (strncmp(entry, "LD_PRELOAD=", 11) == 0 && strstr(entry, "libtracelift.so") != nullptr) preloaded = true;
    if (strncmp(entry, "TRACELIFT_REPORT=", 17) == 0) same_report = true;
  }
  return preloaded && same_report;
}

/// Without `tracelift run` nobody says which process is the root: it is the one whose parent is not traced.
void FindRoot(Options* options) {
  TlConfig& config = options->config;
  if (config.root_pid == 0 && (config.report[0] != 0 || config.summary != 0 || config.follow_children == 0)) {
    const int parent = static_cast<int>(Syscall(SYS_getppid));
    config.root_pid = parent > 0 && IsTraced(parent, config.report) ? parent : ProcessId();
  }
  options->root = config.root_pid == 0 || config.root_pid == ProcessId();
}

/// The value of `name`, with its '=', or null.
const char* Find(char** environment, const char* name) {
  for (char** entry = environment; entry && *entry; ++entry) {
    if (strncmp(*entry, name, strlen(name)) == 0) return *entry + strlen(name);
  }
  return nullptr;
}

/// As the XDG Base Directory Specification has it, which ignores relative paths.
void FindCache(char** environment, TlConfig* config) {
  const char* base = Find(environment, "XDG_CACHE_HOME=");
  const char* below = "/tracelift";
  if (!base || base[0] != '/') {
    base = Find(environment, "HOME=");
    below = "/.cache/tracelift";
  }
  if (!base || base[0] != '/' || strlen(base) + strlen(below) >= sizeof(config->cache)) return;
  strcpy(config->cache, base);
  strcat(config->cache, below);
}

}  // namespace

void ReadOptions(char** environment, Options* options) {
  TlConfig& config = options->config;
  config.verify = 1;
  config.follow_children = 1;
  config.sample_hz = 500;
  config.hot_ms = 30;
  config.cache_mib = 256;
  for (char** entry = environment; entry && *entry; ++entry) {
    if (strncmp(*entry, "TRACELIFT_LOG=", 14) == 0) Set("LOG", *entry + 14, options);
  }
  for (char** entry = environment; entry && *entry; ++entry) {
    // Valgrind runs a translation of the program, which never sees code that is patched.
    if (strncmp(*entry, "LD_PRELOAD=", 11) == 0 && strstr(*entry, "/vgpreload_") != nullptr) options->off = true;
    if ((*entry)[0] != 'T' || strncmp(*entry, kPrefix, sizeof(kPrefix) - 1) != 0) continue;
    const char* name = *entry + sizeof(kPrefix) - 1;
    const char* equals = strchr(name, '=');
    char key[32];
    if (!equals || static_cast<size_t>(equals - name) >= sizeof(key)) continue;
    memcpy(key, name, static_cast<size_t>(equals - name));
    key[equals - name] = 0;
    if (!Set(key, equals + 1, options)) Invalid(*options, key, equals + 1);
  }
  if (config.cache[0] == 0) FindCache(environment, &config);
  FindRoot(options);
}

void RemoveFromPreload(char** environment, const char* library) {
  constexpr char kName[] = "LD_PRELOAD=";
  for (char** entry = environment; entry && *entry;) {
    if (strncmp(*entry, kName, sizeof(kName) - 1) != 0) {
      ++entry;
      continue;
    }
    char* list = *entry + sizeof(kName) - 1;
    char* out = list;
    for (char* at = list; *at;) {
      const size_t length = strcspn(at, ": ");
      const char* slash = static_cast<const char*>(memrchr(at, '/', length));
      const char* file = slash ? slash + 1 : at;
      const size_t file_length = static_cast<size_t>(at + length - file);
      const bool ours = file_length == strlen(library) && memcmp(file, library, file_length) == 0;
      if (length != 0 && !ours) {
        if (out != list) *out++ = ':';
        memmove(out, at, length);
        out += length;
      }
      at += length;
      if (*at) ++at;
    }
    *out = 0;
    if (out != list) {
      ++entry;
      continue;
    }
    for (char** move = entry; (*move = move[1]) != nullptr; ++move) {
    }
  }
}

}  // namespace tracelift::preload
