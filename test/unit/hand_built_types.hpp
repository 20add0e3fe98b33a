// Types and memory for tests, written by hand.
#pragma once

#include <cstring>
#include <deque>
#include <map>
#include <set>

#include "cli/census/memory.hpp"
#include "cli/census/types.hpp"

namespace asynctrace {

class HandBuiltTypes final : public TypeSource {
  std::deque<Type> types_;
  std::set<TypeId> futures_;
  const Type nothing_;

 public:
  TypeId byte = add({.name = "u8", .size = 1});
  TypeId word = add({.name = "usize", .size = 8});
  std::map<uint64_t, TypeId> vtables;
  std::map<uint64_t, std::vector<StackedFunction>> frames;  // by the address in the call

  TypeId add(Type type) {
    types_.push_back(std::move(type));
    return static_cast<TypeId>(types_.size() - 1);
  }
  TypeId add_future(Type type) { return *futures_.insert(add(std::move(type))).first; }
  Type& at(TypeId id) { return types_.at(id); }

  const Type& type(TypeId id) override { return id < types_.size() ? types_[id] : nothing_; }
  bool is_future(TypeId id) override { return futures_.contains(id); }
  TypeId behind_vtable(uint64_t vtable) override {
    const auto found = vtables.find(vtable);
    return found == vtables.end() ? kNoType : found->second;
  }
  const FunctionName* function_of(TypeId) override { return nullptr; }
  std::vector<StackedFunction> functions_in(const FrameState& frame) override { return frames[frame.pc]; }
};

class HandBuiltMemory final : public Memory {
 public:
  void put(uint64_t address, uint64_t value, uint64_t size = 8) {
    for (uint64_t i = 0; i < size; ++i) bytes_[address + i] = static_cast<std::byte>(value >> (i * 8));
  }
  bool read(uint64_t address, std::span<std::byte> into) const override {
    for (std::byte& byte : into) {
      const auto found = bytes_.find(address++);
      if (found == bytes_.end()) return false;
      byte = found->second;
    }
    return true;
  }

 private:
  std::map<uint64_t, std::byte> bytes_;
};

}  // namespace asynctrace
