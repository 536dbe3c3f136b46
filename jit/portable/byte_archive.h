// Values as bytes, and back: one list of fields (Visit, in outcome_bytes.cc) serves both, so the two cannot drift apart.
// Numbers have fixed width, little endian. A reader that meets the end, or what cannot be, has failed for good and only
// gives zeros. Private to jit/portable.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "jit/machine_state.h"
#include "jit/module_bases.h"

namespace tracelift::jit {

template <typename T>
concept PlainNumber = std::is_integral_v<T> || std::is_enum_v<T>;

class ByteWriter {
 public:
  static constexpr bool kReads = false;
  explicit ByteWriter(const ModuleBases& modules) : modules_(modules) {}

  template <PlainNumber T>
  void operator()(const T& number) {
    const auto* bytes = reinterpret_cast<const uint8_t*>(&number);
    bytes_.insert(bytes_.end(), bytes, bytes + sizeof(number));
  }
  void operator()(const std::string& text) { Sequence(text); }
  template <typename T>
  void operator()(const std::vector<T>& values) {
    Sequence(values);
  }
  template <typename T>
  void operator()(const std::optional<T>& value) {
    (*this)(value.has_value());
    if (value) (*this)(*value);
  }
  void operator()(const RegisterSet& registers) {
    for (const uint64_t part : std::bit_cast<std::array<uint64_t, 2>>(registers)) (*this)(part);
  }
  void operator()(const PlacedAddress& place) {
    (*this)(place.module);
    (*this)(place.offset);
  }
  template <typename T>
  requires std::is_class_v<T>
  void operator()(const T& value) {
    Visit(*this, value);
  }
  /// An address of the program, as a place.
  void Address(uint64_t address) { (*this)(modules_.Place(address)); }
  template <PlainNumber T>
  void Number(const T& number, T /*least*/, T /*most*/) {
    (*this)(number);
  }

  std::vector<uint8_t> Take() { return std::move(bytes_); }

 private:
  template <typename T>
  void Sequence(const T& values) {
    (*this)(uint64_t{values.size()});
    for (const typename T::value_type& value : values) (*this)(value);
  }

  const ModuleBases& modules_;
  std::vector<uint8_t> bytes_;
};

class ByteReader {
 public:
  static constexpr bool kReads = true;
  ByteReader(std::span<const uint8_t> bytes, const ModuleBases& modules) : bytes_(bytes), modules_(modules) {}

  template <PlainNumber T>
  void operator()(T& number) {
    if (bytes_.size() < sizeof(number)) return Fail();
    if constexpr (std::is_same_v<T, bool>) {
      if (bytes_[0] > 1) return Fail();
    }
    std::memcpy(&number, bytes_.data(), sizeof(number));
    bytes_ = bytes_.subspan(sizeof(number));
  }
  void operator()(std::string& text) { Sequence(text); }
  template <typename T>
  void operator()(std::vector<T>& values) {
    Sequence(values);
  }
  template <typename T>
  void operator()(std::optional<T>& value) {
    bool is_there = false;
    (*this)(is_there);
    if (is_there) (*this)(value.emplace());
  }
  void operator()(RegisterSet& registers) {
    std::array<uint64_t, 2> parts{};
    for (uint64_t& part : parts) (*this)(part);
    registers = std::bit_cast<RegisterSet>(parts);
  }
  void operator()(PlacedAddress& place) {
    (*this)(place.module);
    (*this)(place.offset);
  }
  template <typename T>
  requires std::is_class_v<T>
  void operator()(T& value) {
    Visit(*this, value);
  }
  void Address(uint64_t& address) {
    PlacedAddress place;
    (*this)(place);
    if (const std::optional<uint64_t> known = modules_.AddressOf(place)) {
      address = *known;
    } else {
      Fail();
    }
  }
  /// Fails for a number that is not from `least` to `most`.
  template <PlainNumber T>
  void Number(T& number, T least, T most) {
    T read{};
    (*this)(read);
    if (read < least || read > most) return Fail();
    number = read;
  }

  void Fail() {
    failed_ = true;
    bytes_ = {};
  }
  bool failed() const { return failed_; }
  bool at_end() const { return bytes_.empty(); }

 private:
  template <typename T>
  void Sequence(T& values) {
    uint64_t count = 0;
    (*this)(count);
    if (count > bytes_.size()) return Fail();  // each takes a byte at least: no room is made for more
    values.resize(count);
    for (auto&& value : values) {
      typename T::value_type one{};  // of a vector<bool>, `value` is no reference to it
      (*this)(one);
      value = std::move(one);
    }
  }

  std::span<const uint8_t> bytes_;
  const ModuleBases& modules_;
  bool failed_ = false;
};

}  // namespace tracelift::jit
