#include "offload/gpu/cubin_cache.h"

#include <xxhash.h>

namespace tracelift::offload {

constexpr uint64_t kBytesPerMib = 1 << 20;

CubinCache::CubinCache(const KernelFolder& folder, std::string maker) : maker_("tracelift " TRACELIFT_VERSION " cubin " + std::move(maker)) {
  if (folder.path.empty() || folder.most_mib <= 0) return;
  if (auto store = EntryStore::Open(folder.path, static_cast<uint64_t>(folder.most_mib) * kBytesPerMib)) store_.emplace(std::move(*store));
}

jit::Fingerprint CubinCache::KeyOf(std::span<const uint8_t> ptx) const {
  const XXH128_hash_t hash = XXH3_128bits_withSeed(ptx.data(), ptx.size(), XXH3_64bits(maker_.data(), maker_.size()));
  return {hash.low64, hash.high64};
}

std::optional<std::vector<uint8_t>> CubinCache::Find(std::span<const uint8_t> ptx) const {
  return store_ ? store_->Load(KeyOf(ptx)) : std::nullopt;
}

void CubinCache::Keep(std::span<const uint8_t> ptx, std::span<const uint8_t> cubin) {
  if (store_) (void)store_->Save(KeyOf(ptx), cubin);
}

}  // namespace tracelift::offload
