// Function bounds from the unwind tables: .eh_frame_hdr is a table of (function begin, FDE) sorted by begin, and it
// is present in stripped binaries too. Layout: Linux Standard Base Core, "Exception Frames"; encodings: the DW_EH_PE_*
// values of the same chapter.
//
// Everything read here belongs to the traced program and may be damaged, so every value is checked where it is read
// and the answer is accepted only when the FDE found does cover the address asked for.
#include <algorithm>
#include <array>
#include <cstring>

#include "jit/function_code.h"

namespace tracelift::jit {
namespace {

constexpr uint8_t kOmit = 0xff;
constexpr uint8_t kFormatMask = 0x0f;
constexpr uint8_t kApplicationMask = 0x70;
constexpr uint8_t kIndirect = 0x80;
constexpr uint8_t kPcRelative = 0x10;
constexpr uint8_t kDataRelative = 0x30;
constexpr uint8_t kTableEncoding = kDataRelative | 0x0b;  // sdata4, what every linker writes; entries of 8 bytes
constexpr uint64_t kTableEntryBytes = 8;
constexpr uint64_t kMaxTableEntries = uint64_t{1} << 28;  // more would not fit sdata4 offsets
constexpr uint64_t kMaxRecordBytes = uint64_t{1} << 24;   // of one CIE or FDE

/// Reads fields one after the other; once a read fails every further value is 0 and ok() is false.
class Cursor {
 public:
  Cursor(const CodeReader& reader, uint64_t address, uint64_t end, uint64_t data_base)
      : reader_(reader), address_(address), end_(end), data_base_(data_base) {}

  bool ok() const { return ok_; }
  uint64_t address() const { return address_; }
  uint64_t end() const { return end_; }
  void Fail() { ok_ = false; }
  void SkipTo(uint64_t address) {
    if (address < address_ || address > end_) Fail();
    address_ = address;
  }
  void set_end(uint64_t end) { end_ = end; }

  template <typename T>
  T Fixed() {
    std::array<uint8_t, sizeof(T)> raw{};
    if (!ok_ || address_ > end_ || end_ - address_ < sizeof(T) || !reader_.Read(address_, raw)) {
      Fail();
      return 0;
    }
    address_ += sizeof(T);
    T value;
    std::memcpy(&value, raw.data(), sizeof(T));
    return value;
  }

  uint64_t Uleb() { return Leb(false); }
  int64_t Sleb() { return static_cast<int64_t>(Leb(true)); }

  /// The bare value, sign-extended where the format is signed.
  uint64_t Formatted(uint8_t encoding) {
    switch (encoding & kFormatMask) {
      case 0x0:
        return Fixed<uint64_t>();
      case 0x1:
        return Uleb();
      case 0x2:
        return Fixed<uint16_t>();
      case 0x3:
        return Fixed<uint32_t>();
      case 0x4:
        return Fixed<uint64_t>();
      case 0x9:
        return static_cast<uint64_t>(Sleb());
      case 0xa:
        return static_cast<uint64_t>(int64_t{Fixed<int16_t>()});
      case 0xb:
        return static_cast<uint64_t>(int64_t{Fixed<int32_t>()});
      case 0xc:
        return Fixed<uint64_t>();
      default:
        Fail();
        return 0;
    }
  }

  /// The address that an encoded pointer means.
  uint64_t Pointer(uint8_t encoding) {
    const uint64_t here = address_;
    uint64_t value = Formatted(encoding);
    switch (encoding & kApplicationMask) {
      case 0:
        break;
      case kPcRelative:
        value += here;
        break;
      case kDataRelative:
        value += data_base_;
        break;
      default:
        Fail();
        return 0;  // text- and function-relative, aligned: not used on x86-64 Linux
    }
    if ((encoding & kIndirect) != 0 && ok_) {
      Cursor target(reader_, value, value + 8 < value ? value : value + 8, data_base_);
      value = target.Fixed<uint64_t>();
      if (!target.ok()) Fail();
    }
    return value;
  }

 private:
  uint64_t Leb(bool is_signed) {
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      const uint8_t byte = Fixed<uint8_t>();
      if (!ok_) return 0;
      value |= uint64_t{byte & 0x7fu} << shift;
      if ((byte & 0x80) != 0) continue;
      if (is_signed && (byte & 0x40) != 0 && shift + 7 < 64) value |= ~uint64_t{0} << (shift + 7);
      return value;
    }
    Fail();
    return 0;
  }

  const CodeReader& reader_;
  uint64_t address_;
  uint64_t end_;
  uint64_t data_base_;
  bool ok_ = true;
};

/// Reads the length field of a CIE or FDE and confines the cursor to the record. False for a terminator.
bool EnterRecord(Cursor* cursor) {
  uint64_t length = cursor->Fixed<uint32_t>();
  if (length == 0xffffffff) length = cursor->Fixed<uint64_t>();
  if (!cursor->ok() || length == 0 || length > kMaxRecordBytes) return false;
  if (cursor->address() + length < cursor->address()) return false;
  cursor->set_end(cursor->address() + length);
  return true;
}

/// The encoding of the addresses in the FDEs of the CIE at `address`: augmentation 'R', or absolute without one.
std::optional<uint8_t> FdeEncoding(const CodeReader& reader, uint64_t address, uint64_t data_base) {
  Cursor cie(reader, address, ~uint64_t{0}, data_base);
  if (!EnterRecord(&cie)) return std::nullopt;
  if (cie.Fixed<uint32_t>() != 0) return std::nullopt;  // not a CIE
  const uint8_t version = cie.Fixed<uint8_t>();
  if (version != 1 && version != 3) return std::nullopt;

  std::array<char, 16> augmentation{};
  size_t letters = 0;
  for (;; ++letters) {
    if (letters == augmentation.size()) return std::nullopt;
    augmentation[letters] = static_cast<char>(cie.Fixed<uint8_t>());
    if (!cie.ok()) return std::nullopt;
    if (augmentation[letters] == 0) break;
  }
  cie.Uleb();  // code alignment
  cie.Sleb();  // data alignment
  if (version == 1) {
    cie.Fixed<uint8_t>();  // return address register
  } else {
    cie.Uleb();
  }
  if (letters == 0) return cie.ok() ? std::optional<uint8_t>(0) : std::nullopt;
  if (augmentation[0] != 'z') return std::nullopt;  // older forms ("eh") are of the 1990s
  cie.Uleb();                                       // length of the augmentation data
  for (size_t i = 1; i < letters; ++i) {
    switch (augmentation[i]) {
      case 'R': {
        const uint8_t encoding = cie.Fixed<uint8_t>();
        return cie.ok() ? std::optional<uint8_t>(encoding) : std::nullopt;
      }
      case 'P': {
        const uint8_t encoding = cie.Fixed<uint8_t>();
        cie.Formatted(encoding);
        break;
      }
      case 'L':
        cie.Fixed<uint8_t>();
        break;
      case 'S':
      case 'B':
        break;
      default:
        return std::nullopt;
    }
  }
  return cie.ok() ? std::optional<uint8_t>(0) : std::nullopt;
}

std::optional<AddressRange> FdeRange(const CodeReader& reader, uint64_t address, uint64_t data_base) {
  Cursor fde(reader, address, ~uint64_t{0}, data_base);
  if (!EnterRecord(&fde)) return std::nullopt;
  const uint64_t pointer_field = fde.address();
  const uint32_t distance = fde.Fixed<uint32_t>();  // back to the CIE; 0: this is a CIE itself
  if (!fde.ok() || distance == 0 || distance > pointer_field) return std::nullopt;
  const std::optional<uint8_t> encoding = FdeEncoding(reader, pointer_field - distance, data_base);
  if (!encoding.has_value() || *encoding == kOmit) return std::nullopt;
  AddressRange range;
  range.begin = fde.Pointer(*encoding);
  const uint64_t size = fde.Formatted(*encoding);
  range.end = range.begin + size;
  if (!fde.ok() || range.end <= range.begin) return std::nullopt;
  return range;
}

/// The table behind the header.
struct SearchTable {
  uint64_t address = 0;
  uint64_t count = 0;
};

std::optional<SearchTable> FindSearchTable(const CodeReader& reader, uint64_t eh_frame_hdr) {
  if (eh_frame_hdr == 0) return std::nullopt;
  Cursor header(reader, eh_frame_hdr, ~uint64_t{0}, eh_frame_hdr);
  const uint8_t version = header.Fixed<uint8_t>();
  const uint8_t frame_encoding = header.Fixed<uint8_t>();
  const uint8_t count_encoding = header.Fixed<uint8_t>();
  const uint8_t table_encoding = header.Fixed<uint8_t>();
  if (!header.ok() || version != 1) return std::nullopt;
  if (count_encoding == kOmit || table_encoding != kTableEncoding) return std::nullopt;
  if (frame_encoding != kOmit) header.Pointer(frame_encoding);
  const uint64_t count = header.Pointer(count_encoding);
  if (!header.ok() || count == 0 || count > kMaxTableEntries) return std::nullopt;
  return SearchTable{header.address(), count};
}

/// Sorts, and drops what overlaps the function before it.
void MakeDisjoint(FunctionList* list) {
  std::ranges::sort(list->functions, {}, [](const AddressRange& range) { return std::pair(range.begin, range.end); });
  const size_t all = list->functions.size();
  size_t kept = 0;
  for (const AddressRange& range : list->functions) {
    if (kept > 0 && range.begin < list->functions[kept - 1].end) continue;
    list->functions[kept++] = range;
  }
  list->functions.resize(kept);
  list->unusable += all - kept;
}

}  // namespace

FunctionList FindAllFunctions(const CodeReader& reader, uint64_t eh_frame_hdr) {
  FunctionList list;
  const std::optional<SearchTable> table = FindSearchTable(reader, eh_frame_hdr);
  for (uint64_t i = 0; table.has_value() && i < table->count; ++i) {
    Cursor entry(reader, table->address + i * kTableEntryBytes, ~uint64_t{0}, eh_frame_hdr);
    entry.Pointer(kTableEncoding);
    const uint64_t fde = entry.Pointer(kTableEncoding);
    if (!entry.ok()) {  // the table runs out of the module
      list.unusable += table->count - i;
      break;
    }
    const std::optional<AddressRange> range = FdeRange(reader, fde, eh_frame_hdr);
    if (range.has_value()) {
      list.functions.push_back(*range);
    } else {
      ++list.unusable;
    }
  }
  MakeDisjoint(&list);
  return list;
}

FunctionList FindAllFunctions(const CodeReader& reader, AddressRange eh_frame) {
  FunctionList list;
  uint64_t next = eh_frame.begin;
  while (next < eh_frame.end) {
    Cursor record(reader, next, eh_frame.end, /*data_base=*/0);
    if (!EnterRecord(&record)) break;
    const bool is_cie = record.Fixed<uint32_t>() == 0;
    if (!record.ok()) break;
    if (!is_cie) {
      const std::optional<AddressRange> range = FdeRange(reader, next, /*data_base=*/0);
      if (range.has_value()) {
        list.functions.push_back(*range);
      } else {
        ++list.unusable;
      }
    }
    next = record.end();
  }
  MakeDisjoint(&list);
  return list;
}

std::optional<AddressRange> FindFunctionBounds(const CodeReader& reader, uint64_t eh_frame_hdr, uint64_t pc) {
  const std::optional<SearchTable> found = FindSearchTable(reader, eh_frame_hdr);
  if (!found.has_value()) return std::nullopt;
  const uint64_t table = found->address, count = found->count;

  // The last entry that begins at or before pc. Addresses are eh_frame_hdr + sdata4, compared without wrapping.
  const auto entry = [&](uint64_t index) {
    return Cursor(reader, table + index * kTableEntryBytes, ~uint64_t{0}, eh_frame_hdr);
  };
  uint64_t low = 0, high = count;
  while (low < high) {
    const uint64_t middle = low + (high - low) / 2;
    Cursor cursor = entry(middle);
    const uint64_t begin = cursor.Pointer(kTableEncoding);
    if (!cursor.ok()) return std::nullopt;
    if (begin <= pc) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  if (low == 0) return std::nullopt;
  Cursor cursor = entry(low - 1);
  cursor.Pointer(kTableEncoding);
  const uint64_t fde = cursor.Pointer(kTableEncoding);
  if (!cursor.ok()) return std::nullopt;

  const std::optional<AddressRange> range = FdeRange(reader, fde, eh_frame_hdr);
  if (!range.has_value() || !range->Contains(pc)) return std::nullopt;
  return range;
}

}  // namespace tracelift::jit
