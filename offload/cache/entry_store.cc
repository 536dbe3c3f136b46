#include "offload/cache/entry_store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>

namespace tracelift::offload {
namespace {

constexpr char kSuffix[] = ".tracelift";
constexpr char kUnfinished[] = ".new-";
constexpr size_t kKeyDigits = 32;
constexpr uint64_t kLargestEntry = 64 << 20;
constexpr double kKeepShare = 0.75;       // of the limit, when entries are removed: not again at once
constexpr int64_t kTouchAfterS = 3600;    // the age in which use shows is this coarse
constexpr int64_t kForgottenAfterS = 3600;  // a file that is still unfinished then has lost its writer

// The file: this header, the content. All numbers little endian.
struct Header {
  std::array<char, 8> magic;  // the last byte is the version
  uint64_t key_low, key_high;
  uint64_t size;      // of the content
  uint64_t checksum;  // XXH3 of all above, then of the content with that as its seed
};
constexpr std::array<char, 8> kMagic = {'t', 'l', 'e', 'n', 't', 'r', 'y', 1};
static_assert(sizeof(Header) == 40);

uint64_t ChecksumOf(const Header& header, std::span<const uint8_t> content) {
  return XXH3_64bits_withSeed(content.data(), content.size(), XXH3_64bits(&header, offsetof(Header, checksum)));
}

std::string NameOf(jit::Fingerprint key) { return fmt::format("{:016x}{:016x}{}", key.high, key.low, kSuffix); }

bool IsEntryName(std::string_view name) {
  const auto is_digit = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); };
  return name.size() == kKeyDigits + sizeof(kSuffix) - 1 && name.ends_with(kSuffix) &&
         std::ranges::all_of(name.substr(0, kKeyDigits), is_digit);
}

bool IsPrivate(const struct stat& info) { return info.st_uid == geteuid() && (info.st_mode & (S_IWGRP | S_IWOTH)) == 0; }

class File {
 public:
  explicit File(int fd) : fd_(fd) {}
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  ~File() {
    if (fd_ >= 0) close(fd_);
  }
  int fd() const { return fd_; }

 private:
  int fd_;
};

bool ReadAll(int fd, std::span<uint8_t> out) {
  while (!out.empty()) {
    const ssize_t n = read(fd, out.data(), out.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    out = out.subspan(static_cast<size_t>(n));
  }
  return true;
}

bool WriteAll(int fd, std::span<const uint8_t> bytes) {
  while (!bytes.empty()) {
    const ssize_t n = write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
  return true;
}

std::string ParentOf(const std::string& path) {
  const size_t end = path.find_last_not_of('/');
  const size_t slash = end == std::string::npos ? std::string::npos : path.rfind('/', end);
  return slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
}

// Only in what is this user's, or everybody's: root may write to other people's homes, but should leave nothing there.
bool MakeFolder(const std::string& path) {
  struct stat parent {};
  if (stat(ParentOf(path).c_str(), &parent) != 0) return false;
  if (parent.st_uid != geteuid() && (parent.st_mode & S_ISVTX) == 0) {
    errno = EACCES;
    return false;
  }
  return mkdir(path.c_str(), 0700) == 0 || errno == EEXIST;
}

bool MakeFolderAndParent(const std::string& path) {
  return MakeFolder(path) || (errno == ENOENT && MakeFolder(ParentOf(path)) && MakeFolder(path));
}

int64_t Now() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  return now.tv_sec;
}

}  // namespace

std::expected<EntryStore, std::string> EntryStore::Open(const std::string& folder, uint64_t most_bytes) {
  constexpr int kFlags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
  int fd = open(folder.c_str(), kFlags);
  if (fd < 0 && errno == ENOENT && MakeFolderAndParent(folder)) fd = open(folder.c_str(), kFlags);
  if (fd < 0) {
    const int error = errno;
    struct stat link {};
    if (lstat(folder.c_str(), &link) == 0 && S_ISLNK(link.st_mode)) {
      return std::unexpected("it is a symbolic link; name the folder itself");
    }
    return std::unexpected(strerror(error));
  }
  struct stat info {};
  if (fstat(fd, &info) == 0 && IsPrivate(info)) return EntryStore(fd, most_bytes);
  close(fd);
  return std::unexpected("code is loaded from it, so it must belong to the user, and nobody else may write to it; use chmod go-w");
}

EntryStore::~EntryStore() {
  if (folder_ >= 0) close(folder_);
}

std::optional<std::vector<uint8_t>> EntryStore::Load(jit::Fingerprint key) const {
  const File file(openat(folder_, NameOf(key).c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  struct stat info {};
  if (file.fd() < 0 || fstat(file.fd(), &info) != 0 || !S_ISREG(info.st_mode) || !IsPrivate(info)) return std::nullopt;
  Header header{};
  const auto bytes = static_cast<uint64_t>(info.st_size);
  if (bytes < sizeof(header) || bytes > sizeof(header) + kLargestEntry) return std::nullopt;
  if (!ReadAll(file.fd(), {reinterpret_cast<uint8_t*>(&header), sizeof(header)})) return std::nullopt;
  const bool is_ours = header.magic == kMagic && header.key_low == key.low && header.key_high == key.high;
  if (!is_ours || header.size != bytes - sizeof(header)) return std::nullopt;
  std::vector<uint8_t> content(header.size);
  if (!ReadAll(file.fd(), content) || ChecksumOf(header, content) != header.checksum) return std::nullopt;
  if (Now() - info.st_mtim.tv_sec > kTouchAfterS) (void)futimens(file.fd(), nullptr);
  return content;
}

bool EntryStore::Save(jit::Fingerprint key, std::span<const uint8_t> content) {
  const uint64_t bytes = sizeof(Header) + content.size();
  if (bytes > most_bytes_ || content.size() > kLargestEntry) return false;
  Header header{kMagic, key.low, key.high, content.size(), 0};
  header.checksum = ChecksumOf(header, content);
  std::vector<uint8_t> file(bytes);
  std::memcpy(file.data(), &header, sizeof(header));
  std::ranges::copy(content, file.begin() + sizeof(header));
  if (!Write(NameOf(key), file)) return false;
  if (bytes_) *bytes_ += bytes;
  if (!bytes_ || *bytes_ > most_bytes_) MakeRoom();
  return true;
}

bool EntryStore::Write(const std::string& name, std::span<const uint8_t> file) const {
  uint64_t number = 0;
  if (getrandom(&number, sizeof(number), GRND_NONBLOCK) != sizeof(number)) return false;
  const std::string unfinished = fmt::format("{}{:016x}", kUnfinished, number);
  bool written = false;
  {
    const File out(openat(folder_, unfinished.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (out.fd() < 0) return false;
    written = WriteAll(out.fd(), file);
  }
  if (written && renameat(folder_, unfinished.c_str(), folder_, name.c_str()) == 0) return true;
  (void)unlinkat(folder_, unfinished.c_str(), 0);
  return false;
}

void EntryStore::Remove(jit::Fingerprint key) { (void)unlinkat(folder_, NameOf(key).c_str(), 0); }

// Looks at what all processes have written, and removes the entries that were not used for longest. Several processes may do
// so at once: whoever comes second finds them gone.
void EntryStore::MakeRoom() {
  const int listed = openat(folder_, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (listed < 0) return;
  const std::unique_ptr<DIR, int (*)(DIR*)> list(fdopendir(listed), &closedir);
  if (!list) {
    close(listed);
    return;
  }
  struct Entry {
    std::string name;
    uint64_t bytes;
    timespec used;
  };
  std::vector<Entry> entries;
  uint64_t total = 0;
  while (const dirent* found = readdir(list.get())) {
    const std::string_view name = found->d_name;
    const bool is_entry = IsEntryName(name), is_unfinished = name.starts_with(kUnfinished);
    struct stat info {};
    if ((!is_entry && !is_unfinished) || fstatat(folder_, found->d_name, &info, AT_SYMLINK_NOFOLLOW) != 0) continue;
    if (is_entry) {
      entries.push_back({std::string(name), static_cast<uint64_t>(info.st_size), info.st_mtim});
      total += entries.back().bytes;
    } else if (Now() - info.st_mtim.tv_sec > kForgottenAfterS) {
      (void)unlinkat(folder_, found->d_name, 0);
    }
  }
  if (total > most_bytes_) {
    std::ranges::sort(entries, [](const Entry& a, const Entry& b) {
      return std::pair(a.used.tv_sec, a.used.tv_nsec) < std::pair(b.used.tv_sec, b.used.tv_nsec);
    });
    const auto enough = static_cast<uint64_t>(static_cast<double>(most_bytes_) * kKeepShare);
    for (const Entry& entry : entries) {
      if (total <= enough) break;
      (void)unlinkat(folder_, entry.name.c_str(), 0);
      total -= entry.bytes;
    }
  }
  bytes_ = total;
}

}  // namespace tracelift::offload
