// What the driver has made of kernels (cubins), kept for all processes of the user: it takes a while over each.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "offload/cache/entry_store.h"
#include "offload/device/channel.h"

namespace tracelift::offload {

/// Thread rule: one thread. Whatever is wrong with the folder or a file in it, it is as if nothing was kept.
class CubinCache {
 public:
  /// `maker` names all that decides what becomes of a text: driver, GPU.
  CubinCache(const KernelFolder& folder, std::string maker);

  bool is_open() const { return store_.has_value(); }
  std::optional<std::vector<uint8_t>> Find(std::span<const uint8_t> ptx) const;
  /// In place of what is there.
  void Keep(std::span<const uint8_t> ptx, std::span<const uint8_t> cubin);

 private:
  jit::Fingerprint KeyOf(std::span<const uint8_t> ptx) const;

  std::optional<EntryStore> store_;
  std::string maker_;
};

}  // namespace tracelift::offload
