// Entries by key in a folder, one file each, shared by all processes of a user.
//
// The files become code in this process. So a folder or file counts only when it belongs to this user, nobody else may
// write to it, and no symbolic link leads there; and each file ends with a checksum of its key and content. Whatever is
// wrong with an entry, it is as if there were none, and the next one written takes its place. Files are complete when they
// get their name: written beside and renamed. Nothing is ever waited for, not even for data to reach the disk.
#pragma once

#include <cstdint>
#include <expected>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "jit/outcome.h"

namespace tracelift::offload {

/// Thread rule: one thread at a time; any number of processes.
class EntryStore {
 public:
  /// Makes the folder when only it and its parent are missing. An error says why it cannot be used.
  static std::expected<EntryStore, std::string> Open(const std::string& folder, uint64_t most_bytes);
  EntryStore(EntryStore&& other) noexcept : folder_(std::exchange(other.folder_, -1)), most_bytes_(other.most_bytes_), bytes_(other.bytes_) {}
  EntryStore& operator=(EntryStore&&) = delete;
  ~EntryStore();

  /// nullopt when there is no sound entry. An entry that is loaded is the last to go when room is needed.
  std::optional<std::vector<uint8_t>> Load(jit::Fingerprint key) const;
  /// Replaces what is there; removes the entries that were not loaded or saved for longest when all are too large together.
  /// False when it could not be written, or is larger than all may be.
  bool Save(jit::Fingerprint key, std::span<const uint8_t> content);
  void Remove(jit::Fingerprint key);

 private:
  EntryStore(int folder, uint64_t most_bytes) : folder_(folder), most_bytes_(most_bytes) {}
  bool Write(const std::string& name, std::span<const uint8_t> file) const;
  void MakeRoom();

  int folder_;
  uint64_t most_bytes_;
  std::optional<uint64_t> bytes_;  // of all entries, as far as this process knows; nullopt: not looked yet
};

}  // namespace tracelift::offload
