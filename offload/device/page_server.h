// The thread that answers for pages of the program's that are missing because the device has them: it reads the userfaultfd that the
// kernel tells of touches, forks, and changes of the program's map. Whoever causes one of these waits until it is read, so whatever
// follows, the device's next launch above all, comes after it.
//
// It needs userfaultfd for faults in system calls, too, and events of forks: CAP_SYS_PTRACE. Where it is not to be had, results come
// home at once.
//
// Thread rule: Start on the session's thread, whose descriptors the program cannot close. Everything else on the server's own thread;
// it allocates nothing, as the program's allocator may touch what is missing.
#pragma once

#include <linux/userfaultfd.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "offload/device/child_pages.h"
#include "offload/device/device_copies.h"

namespace tracelift::offload {

class PageServer {
 public:
  /// Serves `copies` for the life of the process; null where the kernel does not let us.
  static PageServer* Start(DeviceCopies& copies);
  /// Whether it does.
  static bool IsPossible();

  int watch() const { return watch_; }
  SharedWatch shared() const { return {thread_.load(std::memory_order_acquire), watch_}; }

  /// Of the thread that gave pages back: waits until the kernel's word of it is understood.
  void AwaitReading() const;

  // Of the server's thread.
  /// Reads what comes, to be answered later.
  void ReadOn();
  /// These pages have come home. Children that were forked before that, but are not looked after yet, have them, too.
  void FillWaitingChildren(PageRange pages, const uint8_t* bytes);

  /// Runs it in a forked child that the program never meets; whether it returned true there.
  bool RunInChild(bool (*run)(void*), void* argument);

 private:
  explicit PageServer(DeviceCopies& copies, int watch) : copies_(copies), watch_(watch) {}
  void Serve();
  void Answer(const uffd_msg& message);
  bool AnswerHolder(const uffd_msg& message);
  bool Next(uffd_msg* message, int patience_ms);
  void PutOff(const uffd_msg& message);
  std::optional<ChildPages>& ChildWith(int watch);
  void ForkOnDemand();

  struct Work {
    bool (*run)(void*) = nullptr;
    void* argument = nullptr;
  };
  enum State : uint32_t { kIdle, kWanted, kGood, kFailed };

  DeviceCopies& copies_;
  const int watch_;
  std::atomic<int> thread_{0};
  std::atomic<bool> reading_{false};
  // The thread that forks cannot be the one that the kernel tells of it.
  Work work_;
  std::atomic<uint32_t> state_{kIdle};  // a futex
  std::array<uffd_msg, 256> put_off_{};  // until the link is free; no thread of the program waits for more than one
  size_t put_off_count_ = 0;
  std::array<std::optional<ChildPages>, 64> children_{};  // of forks that are put off, and of the one that is not
};

}  // namespace tracelift::offload
