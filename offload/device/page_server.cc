#include "offload/device/page_server.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <new>

#include "offload/device/userfaultfd_features.h"

namespace tracelift::offload {
namespace {

constexpr uint64_t kFeatures = kWriteProtectUnpopulated | kWriteProtectAsync | UFFD_FEATURE_EVENT_FORK | UFFD_FEATURE_EVENT_REMAP |
                               UFFD_FEATURE_EVENT_REMOVE | UFFD_FEATURE_EVENT_UNMAP | UFFD_FEATURE_THREAD_ID;
constexpr int kPatienceMs = 1;
constexpr int kMostTries = 100, kPauseUs = 100'000;  // to fork

// -1 where faults in system calls, or events, are not for us.
int OpenWatch() {
  const auto thread = static_cast<int>(syscall(SYS_pidfd_open, syscall(SYS_gettid), kPidfdOfThread));  // program threads need one
  if (thread < 0) return -1;
  close(thread);
  const auto watch = static_cast<int>(syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK));
  uffdio_api api{.api = UFFD_API, .features = kFeatures, .ioctls = 0};
  if (watch < 0 || ioctl(watch, UFFDIO_API, &api) == 0) return watch;
  close(watch);
  return -1;
}

void StartThread(void* (*run)(void*), void* argument) {
  pthread_t thread;
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  pthread_create(&thread, &attributes, run, argument);
  pthread_attr_destroy(&attributes);
}

}  // namespace

bool PageServer::IsPossible() {
  const int watch = OpenWatch();
  if (watch >= 0) close(watch);
  return watch >= 0;
}

// All signals are blocked on the caller's thread, and so on ours.
PageServer* PageServer::Start(DeviceCopies& copies) {
  const int watch = OpenWatch();
  if (watch < 0) return nullptr;
  void* memory = mmap(nullptr, PageUp(sizeof(PageServer)), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    close(watch);
    return nullptr;
  }
  auto* server = new (memory) PageServer(copies, watch);
  StartThread([](void* self) -> void* { return static_cast<PageServer*>(self)->Serve(), nullptr; }, server);
  StartThread([](void* self) -> void* { return static_cast<PageServer*>(self)->ForkOnDemand(), nullptr; }, server);
  while (server->thread_.load(std::memory_order_acquire) == 0) usleep(50);
  copies.BeServed(*server);
  return server;
}

// The next message that is not about the holder of the link: what that waits for cannot wait for the link.
bool PageServer::Next(uffd_msg* message, int patience_ms) {
  pollfd ready{.fd = watch_, .events = POLLIN, .revents = 0};
  if (poll(&ready, 1, patience_ms) < 1) return false;
  reading_.store(true, std::memory_order_seq_cst);
  const bool is_there = read(watch_, message, sizeof(*message)) == static_cast<ssize_t>(sizeof(*message)) && !AnswerHolder(*message);
  reading_.store(false, std::memory_order_seq_cst);
  return is_there;
}

void PageServer::AwaitReading() const {
  while (reading_.load(std::memory_order_seq_cst)) syscall(SYS_sched_yield);
}

// Nobody takes the link between what is read here and its answer.
void PageServer::Serve() {
  thread_.store(static_cast<int>(syscall(SYS_gettid)), std::memory_order_release);
  DeviceLink& link = copies_.link();
  for (;;) {
    pollfd ready{.fd = watch_, .events = POLLIN, .revents = 0};
    if (poll(&ready, 1, -1) < 1) continue;
    link.Announce();
    if (uffd_msg message; Next(&message, 0)) Answer(message);
    for (size_t i = 0; i < put_off_count_; ++i) Answer(uffd_msg(put_off_[i]));
    put_off_count_ = 0;
    link.Withdraw();
  }
}

bool PageServer::AnswerHolder(const uffd_msg& message) {
  if (message.event == UFFD_EVENT_REMOVE) return copies_.IsOwnDrop({message.arg.remove.start, message.arg.remove.end});
  const bool is_holders = copies_.IsCopying() || copies_.link().IsHeldBy(message.arg.pagefault.feat.ptid);
  return message.event == UFFD_EVENT_PAGEFAULT && is_holders && copies_.Serve(message.arg.pagefault.address);
}

// What of a child's pages is missing is known from the moment that its fork is read. Where there are too many, the last is given up.
std::optional<ChildPages>& PageServer::ChildWith(int watch) {
  const auto known = std::ranges::find_if(children_, [&](const auto& child) { return child && child->watch() == watch; });
  if (known != children_.end()) return *known;
  const auto place = std::ranges::find_if(children_, [](const auto& child) { return !child; });
  std::optional<ChildPages>& made = place == children_.end() ? children_.back() : *place;
  made.emplace(watch);
  return made;
}

void PageServer::FillWaitingChildren(PageRange pages, const uint8_t* bytes) {
  for (auto& child : children_) {
    if (child) child->Fill(pages, bytes);
  }
}

// A fault that is forgotten comes again.
void PageServer::PutOff(const uffd_msg& message) {
  if (message.event == UFFD_EVENT_FORK) ChildWith(static_cast<int>(message.arg.fork.ufd));
  if (put_off_count_ < put_off_.size()) {
    put_off_[put_off_count_++] = message;
  } else if (message.event == UFFD_EVENT_PAGEFAULT) {
    uffdio_range page{.start = PageDown(message.arg.pagefault.address), .len = kPageBytes};
    (void)ioctl(watch_, UFFDIO_WAKE, &page);
  }
}

void PageServer::ReadOn() {
  if (uffd_msg next; Next(&next, kPatienceMs)) PutOff(next);
}

void PageServer::Answer(const uffd_msg& message) {
  DeviceLink& link = copies_.link();
  if (message.event == UFFD_EVENT_FORK) ChildWith(static_cast<int>(message.arg.fork.ufd));
  while (!link.Seize()) ReadOn();
  const PageRange pages{message.arg.remove.start, message.arg.remove.end};
  switch (message.event) {
    case UFFD_EVENT_PAGEFAULT: (void)copies_.Serve(message.arg.pagefault.address); break;
    case UFFD_EVENT_REMOVE: copies_.PagesGone(pages); break;
    case UFFD_EVENT_UNMAP: copies_.PagesUnmapped(pages); break;
    case UFFD_EVENT_REMAP: {
      const auto& remap = message.arg.remap;
      copies_.PagesUnmapped({remap.from, remap.from + remap.len}, remap.to);
      break;
    }
    case UFFD_EVENT_FORK:
      copies_.ProgramForked();
      ChildWith(static_cast<int>(message.arg.fork.ufd)).reset();
      break;
    default: break;
  }
  copies_.EndLogIfAllIsHome();
  link.Release();
}

// The child is the first that the kernel tells of: the program's only thread waits for us, or has just forked itself.
bool PageServer::RunInChild(bool (*run)(void*), void* argument) {
  work_ = {run, argument};
  state_.store(kWanted, std::memory_order_release);
  syscall(SYS_futex, &state_, FUTEX_WAKE, 1, nullptr, nullptr, 0);
  bool is_ours = true;
  for (;;) {
    const uint32_t state = state_.load(std::memory_order_acquire);
    if (state == kGood || state == kFailed) return state == kGood;
    uffd_msg message;
    if (!Next(&message, kPatienceMs)) continue;
    if (message.event == UFFD_EVENT_FORK && is_ours) {
      close(static_cast<int>(message.arg.fork.ufd));  // it has no missing pages then, but fresh ones
      is_ours = false;
    } else {
      PutOff(message);
    }
  }
}

void PageServer::ForkOnDemand() {
  for (;;) {
    const uint32_t seen = state_.load(std::memory_order_acquire);
    if (seen != kWanted) {
      syscall(SYS_futex, &state_, FUTEX_WAIT, seen, nullptr, nullptr, 0);
      continue;
    }
    long child = -1;
    for (int tries = 0; tries < kMostTries && child < 0; ++tries) {
      if (tries > 0) usleep(kPauseUs);
      child = syscall(SYS_clone, 0, nullptr, nullptr, nullptr, nullptr);  // whose end no signal tells
    }
    if (child == 0) syscall(SYS_exit_group, work_.run(work_.argument) ? 0 : 1);
    int status = -1;
    while (child > 0 && syscall(SYS_wait4, child, &status, __WALL, nullptr) < 0 && errno == EINTR) {
    }
    state_.store(child > 0 && status == 0 ? kGood : kFailed, std::memory_order_release);
  }
}

}  // namespace tracelift::offload
