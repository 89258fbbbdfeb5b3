// Byte layout of a plan's header and section table, shared by writer and reader; nobody else needs it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace fusebox::plan {

inline constexpr char fileMagic[8] = {'F', 'U', 'S', 'E', 'B', 'O', 'X', 'P'};
inline constexpr uint32_t endianMark = 0x01020304;
inline constexpr uint32_t maxSections = 4096;
inline constexpr uint64_t sectionAlignment = 64;

struct FileHeader {
  char magic[8];
  uint32_t endian;
  uint32_t version;
  uint32_t sections;
  uint32_t reserved;
  uint64_t fileSize;
  uint64_t checksum; ///< XXH3-64 of header (this field 0) and table
};
static_assert(sizeof(FileHeader) == 40 && std::is_trivially_copyable_v<FileHeader>);

struct TableEntry {
  uint32_t kind;
  uint32_t compression; ///< 0: none, 1: zstd
  uint64_t offset, size, uncompressedSize, checksum;
  char name[40]; ///< padded with zeros
};
static_assert(sizeof(TableEntry) == 80 && std::is_trivially_copyable_v<TableEntry>);

constexpr uint64_t alignUp(uint64_t value, uint64_t alignment) {
  return (value + alignment - 1) / alignment * alignment;
}

} // namespace fusebox::plan
