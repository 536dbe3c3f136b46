// A device process as the traced program sees it.
//
// Thread rule: Start, Load and Abandon on the session's thread, which may have descriptors of its own. All else on any thread that has taken the link, the program's own in the
// middle of its code: nothing allocates, locks or calls into libc beyond memcpy. A forked child never gets it.
#pragma once

#include <atomic>
#include <cstdint>
#include <expected>
#include <string>

#include "offload/device/channel.h"

namespace tracelift::offload {

class DeviceLink {
 public:
  /// Starts `server`, the program tracelift-device, for the device of that name ("reference"), and waits until it is ready. What its
  /// driver makes of kernels is kept in `kernels`. The error says why there is none.
  static std::expected<DeviceLink*, std::string> Start(const std::string& server, const std::string& device, const KernelFolder& kernels = {});
  ~DeviceLink() = delete;  // lives as long as the process

  const char* name() const { return channel_->name; }
  int server_pid() const { return channel_->pid; }
  uint64_t memory_bytes() const { return channel_->memory_bytes; }

  /// False when another thread has it, when it is lost, and in a forked child. Waits, but not for long, for who has announced itself.
  bool Take(bool though_lost = false);
  /// False in a forked child.
  bool IsOurs() const;
  /// Commands from here on do not depend on those before.
  void BeginBatch() { ++batch_; }
  void Release();

  // Of the one thread that looks after the program's pages (page_server.h), which comes first:
  /// Nobody else takes the link until Withdraw(); who has it keeps it.
  void Announce() { announced_.store(1, std::memory_order_seq_cst); }
  void Withdraw() { announced_.store(0, std::memory_order_release); }
  /// Announced: true once nobody had it: now we have it, lost or not.
  bool Seize();
  bool IsHeldBy(uint32_t thread) const { return holder_.load(std::memory_order_acquire) == thread; }
  /// Copies from the device to the staging area, for the holder while that waits, or for itself. False when the device is lost, as it
  /// is when this fails.
  bool Fetch(uint32_t buffer, uint64_t offset, uint64_t staging, uint64_t bytes);

  uint8_t* staging() const { return reinterpret_cast<uint8_t*>(channel_) + kStagingAt; }

  /// Waits until fewer commands are under way than there is room for. False when the device is lost or the batch has failed. The
  /// number of the command goes to `number`, unless null.
  bool Post(DeviceCommand command, uint32_t* number = nullptr) { return PostAs(batch_, command, number); }
  /// Waits until command `number` and all before it are done, at most until `deadline_ns` (CLOCK_MONOTONIC), when the device counts
  /// as lost. False when it is, or when the batch has failed.
  bool WaitFor(uint32_t number, double deadline_ns) { return WaitAs(batch_, number, deadline_ns); }
  /// The same for all commands.
  bool Finish(double deadline_ns) { return WaitFor(posted_, deadline_ns); }

  /// A command of this batch has; what became of those behind it is not known.
  bool HasFailed() const { return HasFailed(batch_); }
  /// Of the failed batch, kGood when the device is lost.
  DeviceStatus status() const { return channel_->status; }

  /// Nothing more is asked of it, for this reason, a string that stays.
  void Quarantine(const char* why);
  /// Ends the process of a device that is lost.
  void Abandon();
  bool is_lost() const { return lost_.load(std::memory_order_acquire); }
  /// Why it is lost, or what failed last.
  std::string Why() const;

  /// The kernel's number for launches, at most kMostKernels of them.
  std::expected<uint32_t, std::string> Load(const jit::Kernel& kernel);

 private:
  DeviceLink() = default;
  bool HasEnded() const;
  bool HasFailed(uint32_t batch) const { return channel_->failed_batch.load(std::memory_order_acquire) == batch; }
  bool PostAs(uint32_t batch, DeviceCommand command, uint32_t* number);
  bool WaitAs(uint32_t batch, uint32_t number, double deadline_ns);

  DeviceChannel* channel_ = nullptr;
  int life_ = -1;
  int process_ = 0;
  uint32_t posted_ = 0, batch_ = 0, fetches_ = 0;
  uint32_t kernels_ = 0;
  std::atomic<uint32_t> holder_{0};     // thread; 0: nobody
  std::atomic<uint32_t> announced_{0};
  std::atomic<bool> lost_{false};
  std::atomic<const char*> why_lost_{nullptr};
};

}  // namespace tracelift::offload
