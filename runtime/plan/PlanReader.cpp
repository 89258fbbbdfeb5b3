#include "runtime/plan/PlanFile.h"

#include "runtime/plan/PlanLayout.h"
#include "support/Hash.h"

#include <algorithm>
#include <cstring>
#include <zstd.h>

using namespace fusebox;
using namespace fusebox::plan;

std::string_view plan::sectionKindName(SectionKind kind) {
  switch (kind) {
  case SectionKind::Program:
    return "program";
  case SectionKind::LayerIr:
    return "layer-ir";
  case SectionKind::PlanIr:
    return "plan-ir";
  case SectionKind::Remarks:
    return "remarks";
  case SectionKind::TextAssets:
    return "text-assets";
  case SectionKind::Metadata:
    return "metadata";
  case SectionKind::Weights:
    return "weights";
  }
  return "unknown";
}

static Error damaged(const std::string &path, const std::string &what) {
  return modelError(path + ": the plan is damaged (" + what + "); copy or compile it again");
}

Result<PlanReader> PlanReader::open(const std::string &path) {
  PlanReader reader;
  FUSEBOX_ASSIGN(reader.mapping, MappedFile::open(path));
  reader.filePath = path;
  reader.bytes = reader.mapping->bytes();
  FUSEBOX_TRY(reader.readTable());
  return reader;
}

Result<PlanReader> PlanReader::fromBytes(std::vector<std::byte> bytes, const std::string &name) {
  PlanReader reader;
  reader.filePath = name;
  reader.held = std::make_shared<const std::vector<std::byte>>(std::move(bytes));
  reader.bytes = *reader.held;
  FUSEBOX_TRY(reader.readTable());
  return reader;
}

/// What can be said of a header before its checksum: the order of the tests gives the most telling message.
static Result<void> checkHeader(const std::string &path, const FileHeader &header, uint64_t fileSize) {
  if (std::memcmp(header.magic, fileMagic, sizeof(fileMagic)) != 0)
    return modelError(path + ": not a Fusebox plan; make one with: fusebox compile MODEL -o FILE");
  if (header.endian == __builtin_bswap32(endianMark))
    return modelError(path +
                      ": the plan was made on a machine of the other byte order; compile it for this one");
  if (header.endian != endianMark)
    return damaged(path, "byte-order mark");
  if (header.version > formatVersion)
    return modelError(path + ": plan format " + std::to_string(header.version) +
                      ", this program reads format " + std::to_string(formatVersion) +
                      "; update it, or compile the plan again");
  if (header.version < formatVersion)
    return modelError(path + ": plan format " + std::to_string(header.version) + " is older than format " +
                      std::to_string(formatVersion) + " that this program reads; compile the plan again");
  if (header.fileSize > fileSize)
    return modelError(path + ": the plan is truncated: it should have " + std::to_string(header.fileSize) +
                      " bytes, the file has " + std::to_string(fileSize) + "; copy or compile it again");
  if (header.fileSize < fileSize)
    return damaged(path, "bytes after its end");
  if (header.sections > maxSections)
    return damaged(path, "section count");
  return {};
}

/// The bytes that the header's checksum covers, checksum field zeroed.
static uint64_t headChecksum(FileHeader header, std::span<const std::byte> tableBytes) {
  header.checksum = 0;
  Hasher hasher;
  hasher.add(std::as_bytes(std::span(&header, 1)));
  hasher.add(tableBytes);
  return hasher.digest64();
}

Result<void> PlanReader::readTable() {
  FileHeader header;
  if (bytes.size() < sizeof(header)) {
    size_t known = std::min(bytes.size(), sizeof(fileMagic));
    if (known == 0 || std::memcmp(bytes.data(), fileMagic, known) != 0)
      return modelError(filePath + ": not a Fusebox plan; make one with: fusebox compile MODEL -o FILE");
    return modelError(filePath + ": the plan is truncated: the file has " + std::to_string(bytes.size()) +
                      " bytes; copy or compile it again");
  }
  std::memcpy(&header, bytes.data(), sizeof(header));
  FUSEBOX_TRY(checkHeader(filePath, header, bytes.size()));
  size_t tableSize = header.sections * sizeof(TableEntry);
  if (tableSize > bytes.size() - sizeof(header))
    return damaged(filePath, "section table");
  std::span<const std::byte> tableBytes = bytes.subspan(sizeof(header), tableSize);
  if (headChecksum(header, tableBytes) != header.checksum)
    return damaged(filePath, "checksum of header and section table");

  for (uint32_t i = 0; i < header.sections; ++i) {
    TableEntry entry;
    std::memcpy(&entry, tableBytes.data() + i * sizeof(entry), sizeof(entry));
    Section section;
    section.kind = SectionKind(entry.kind);
    section.name.assign(entry.name, strnlen(entry.name, sizeof(entry.name)));
    section.offset = entry.offset;
    section.size = entry.size;
    section.uncompressedSize = entry.uncompressedSize;
    section.compressed = entry.compression == 1;
    section.checksum = entry.checksum;
    std::string where = "section " + std::to_string(i);
    if (sectionKindName(section.kind) == "unknown" || entry.compression > 1)
      return damaged(filePath, where + ": kind or compression");
    if (entry.offset > bytes.size() || entry.size > bytes.size() - entry.offset ||
        entry.offset % sectionAlignment != 0 || entry.offset < sizeof(header) + tableSize)
      return damaged(filePath, where + ": place");
    if (!section.compressed && entry.uncompressedSize != entry.size)
      return damaged(filePath, where + ": size");
    table.push_back(std::move(section));
  }
  return {};
}

const Section *PlanReader::find(SectionKind kind, std::string_view name) const {
  for (const Section &section : table)
    if (section.kind == kind && (name.empty() || section.name == name))
      return &section;
  return nullptr;
}

Result<std::vector<std::byte>> PlanReader::read(const Section &section) const {
  std::span<const std::byte> stored = bytes.subspan(section.offset, section.size);
  std::string what = std::string(sectionKindName(section.kind)) + " section";
  if (section.uncompressedSize > maxSectionBytes)
    return damaged(filePath, what + ": " + std::to_string(section.uncompressedSize) + " bytes are too many");
  if (hash64(stored) != section.checksum)
    return damaged(filePath, "checksum of the " + what);
  if (!section.compressed)
    return std::vector<std::byte>(stored.begin(), stored.end());
  if (ZSTD_getFrameContentSize(stored.data(), stored.size()) != section.uncompressedSize)
    return damaged(filePath, what + ": size");
  std::vector<std::byte> plain(section.uncompressedSize);
  size_t size = ZSTD_decompress(plain.data(), plain.size(), stored.data(), stored.size());
  if (ZSTD_isError(size) || size != plain.size())
    return damaged(filePath, what + ": compressed data");
  return plain;
}

Result<std::string> PlanReader::readText(const Section &section) const {
  FUSEBOX_ASSIGN(std::vector<std::byte> plain, read(section));
  return std::string(reinterpret_cast<const char *>(plain.data()), plain.size());
}

Result<Program> PlanReader::readProgram(const Section &section) const {
  FUSEBOX_ASSIGN(std::vector<std::byte> plain, read(section));
  auto program = decodeProgram(plain);
  if (!program)
    return Error{program.error().kind, filePath + ": " + program.error().message};
  uint64_t room = embeddedWeights().size();
  for (const WeightFile &file : program->files)
    if (file.embedded && (file.embeddedOffset > room || file.size > room - file.embeddedOffset))
      return damaged(filePath, "embedded weights of " + file.pathHint);
  return program;
}

std::span<const std::byte> PlanReader::embeddedWeights() const {
  const Section *section = find(SectionKind::Weights);
  if (!section || section->compressed)
    return {};
  return bytes.subspan(section->offset, section->size);
}
