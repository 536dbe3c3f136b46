#include "profiler/preload/idle_report.h"

#include <fcntl.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <time.h>

#include <cstdio>
#include <cstring>

#include "profiler/preload/raw_syscalls.h"
#include "profiler/preload/watcher.h"

namespace tracelift::preload {
namespace {

constexpr int kReportVersion = 4;  // profiler/run_report.h; a test reads these reports with its reader
constexpr double kNsPerMs = 1e6;

/// JSON text in a fixed buffer. What does not fit is left out, in whole strings, so the result stays valid.
class Text {
 public:
  __attribute__((format(printf, 2, 3))) void Add(const char* format, ...) {
    va_list arguments;
    va_start(arguments, format);
    const int n = vsnprintf(data_ + length_, sizeof(data_) - length_, format, arguments);
    va_end(arguments);
    if (n > 0 && length_ + static_cast<size_t>(n) < sizeof(data_)) length_ += static_cast<size_t>(n);
  }

  /// A JSON string. Bytes that are not valid UTF-8 become '?'.
  void AddString(const char* text) {
    data_[length_++] = '"';
    for (const char* at = text; *at && length_ + 16 < sizeof(data_);) {
      const auto c = static_cast<unsigned char>(*at);
      const int sequence = SequenceLength(at);
      if (c == '"' || c == '\\') {
        data_[length_++] = '\\';
        data_[length_++] = *at++;
      } else if (c < 0x20) {
        Add("\\u%04x", c);
        ++at;
      } else if (sequence == 0) {
        data_[length_++] = '?';
        ++at;
      } else {
        for (int i = 0; i < sequence; ++i) data_[length_++] = *at++;
      }
    }
    data_[length_++] = '"';
  }

  size_t room() const { return sizeof(data_) - length_; }
  const char* data() const { return data_; }
  size_t length() const { return length_; }

 private:
  static int SequenceLength(const char* text) {
    const auto byte = [&](int i) { return static_cast<unsigned char>(text[i]); };
    const unsigned char first = byte(0);
    if (first < 0x80) return 1;
    const int length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    if (first < 0xc2 || first > 0xf4) return 0;
    for (int i = 1; i < length; ++i) {
      if ((byte(i) & 0xc0) != 0x80) return 0;
    }
    const unsigned char second = byte(1);
    const bool overlong = (first == 0xe0 && second < 0xa0) || (first == 0xf0 && second < 0x90);
    const bool surrogate = first == 0xed && second > 0x9f;
    const bool too_large = first == 0xf4 && second > 0x8f;
    return overlong || surrogate || too_large ? 0 : length;
  }

  char data_[65536] = {};
  size_t length_ = 0;
};

constinit Text text;

// The one descriptor of ours in the program's table, and only under --summary. Its identity is checked before use:
// the program may have closed it and opened something else.
int kept_error = -1;
struct stat kept_identity;

void PrintSummary(const char* line, long length) {
  struct stat now;
  if (kept_error >= 0 && Syscall(SYS_fstat, kept_error, AsLong(&now)) == 0 && now.st_dev == kept_identity.st_dev &&
      now.st_ino == kept_identity.st_ino) {
    Syscall(SYS_write, kept_error, AsLong(line), length);
  }
}

void AddCommand() {
  static char arguments[32768];
  const long length = ReadSmallFile("/proc/self/cmdline", arguments, sizeof(arguments));
  constexpr size_t kReserve = 4096;  // for what follows the command
  text.Add("[");
  for (long at = 0; at < length;) {
    const size_t bytes = strlen(arguments + at);
    if (text.room() < 6 * bytes + kReserve) break;
    if (at > 0) text.Add(", ");
    text.AddString(arguments + at);
    at += static_cast<long>(bytes) + 1;
  }
  text.Add("]");
}

/// "%p" in a report's name is the process id.
void ReportPath(const char* pattern, char* out, size_t size) {
  const char* at = strstr(pattern, "%p");
  if (!at) {
    snprintf(out, size, "%s", pattern);
  } else {
    snprintf(out, size, "%.*s%d%s", static_cast<int>(at - pattern), pattern, ProcessId(), at + 2);
  }
}

// Written beside and renamed, so that a reader never sees half a report.
void WriteReplacing(const char* path) {
  static char temporary[4352 + 32];
  snprintf(temporary, sizeof(temporary), "%s.%d.tmp", path, ProcessId());
  constexpr int kHere = -100;
  const long fd = Syscall(SYS_openat, kHere, AsLong(temporary), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0) return;
  size_t written = 0;
  while (written < text.length()) {
    const long n =
        Syscall(SYS_write, fd, AsLong(text.data() + written), static_cast<long>(text.length() - written));
    if (n <= 0) break;
    written += static_cast<size_t>(n);
  }
  CloseFile(static_cast<int>(fd));
  if (written == text.length()) {
    Syscall(SYS_rename, AsLong(temporary), AsLong(path));
  } else {
    Syscall(SYS_unlink, AsLong(temporary));
  }
}

}  // namespace

void KeepStandardError() {
  constexpr int kHighDescriptors[] = {900, 100, 10};  // out of the program's way, within its limit
  for (const int lowest : kHighDescriptors) {
    kept_error = static_cast<int>(Syscall(SYS_fcntl, 2, F_DUPFD_CLOEXEC, lowest));
    if (kept_error >= 0) break;
  }
  if (kept_error >= 0 && Syscall(SYS_fstat, kept_error, AsLong(&kept_identity)) != 0) kept_error = -1;
}

void DropStandardError() {
  if (kept_error >= 0) CloseFile(kept_error);
  kept_error = -1;
}

void WriteIdleReport(const Options& options, uint64_t started_ns) {
  TlSamplingStats stats;
  WatcherStats(&stats);
  const double wall_ms = static_cast<double>(ClockNs(CLOCK_MONOTONIC) - started_ns) / kNsPerMs;
  const double cpu_ms = static_cast<double>(ClockNs(CLOCK_PROCESS_CPUTIME_ID)) / kNsPerMs;
  if (options.config.summary) {
    char line[160];
    const int n = snprintf(line, sizeof(line), "tracelift: nothing hot in %.1f ms of CPU time (%llu samples)\n", cpu_ms,
                           static_cast<unsigned long long>(stats.samples));
    if (n > 0) PrintSummary(line, n);
  }
  if (options.config.report[0] == 0) return;
  text.Add("{\n \"format\": \"tracelift-report\",\n \"version\": %d,\n \"tracelift_version\": \"%s\",\n \"command\": ",
           kReportVersion, TRACELIFT_VERSION);
  AddCommand();
  text.Add(",\n \"pid\": %d,\n \"machine\": \"\",\n \"target_cpu\": \"\",\n \"state\": \"idle\",\n", ProcessId());
  text.Add(" \"wall_ms\": %.3f,\n \"cpu_ms\": %.3f,\n \"samples\": %llu,\n \"lost_samples\": %llu,\n", wall_ms, cpu_ms,
           static_cast<unsigned long long>(stats.samples), static_cast<unsigned long long>(stats.lost));
  text.Add(" \"sampling_source\": \"%s\",\n \"sampling_cost_ms\": %.3f,\n", stats.source,
           static_cast<double>(stats.cost_ns) / kNsPerMs);
  text.Add(" \"compile_ms\": 0.0,\n \"load_ms\": 0.0,\n \"time_saved_ms\": 0.0,\n \"cache\": \"\",\n \"graph\": \"\",\n \"plan\": \"\",\n");
  text.Add(" \"notes\": [");
  if (const char* reason = WhyLeftAlone()) text.AddString(reason);
  text.Add("],\n \"regions\": []\n}\n");
  static char path[4352];
  ReportPath(options.config.report, path, sizeof(path));
  WriteReplacing(path);
}

}  // namespace tracelift::preload
