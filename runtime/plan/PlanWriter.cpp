#include "runtime/plan/PlanFile.h"

#include "runtime/plan/PlanLayout.h"
#include "support/AtomicFile.h"
#include "support/Hash.h"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <zstd.h>

using namespace fusebox;
using namespace fusebox::plan;

/// Text compresses about as well as at higher levels, in a few milliseconds.
static constexpr int compressionLevel = 3;

static std::span<const std::byte> zeros(uint64_t count) {
  static constexpr std::byte block[sectionAlignment] = {};
  assert(count <= sizeof(block) && "padding is less than the alignment");
  return {block, size_t(count)};
}

void PlanWriter::add(SectionKind kind, const std::string &name, std::vector<std::byte> stored,
                     uint64_t uncompressed, bool compressed) {
  assert(name.size() < sizeof(TableEntry::name) && "section names are short");
  Pending next;
  next.section.kind = kind;
  next.section.name = name;
  next.section.size = stored.size();
  next.section.uncompressedSize = uncompressed;
  next.section.compressed = compressed;
  next.section.checksum = hash64(stored);
  next.bytes = std::move(stored);
  pending.push_back(std::move(next));
}

void PlanWriter::addProgram(const std::string &name, const Program &program) {
  std::vector<std::byte> bytes = encodeProgram(program);
  uint64_t size = bytes.size();
  add(SectionKind::Program, name, std::move(bytes), size, false);
}

void PlanWriter::addText(SectionKind kind, const std::string &name, std::string_view text) {
  addBytes(kind, name, std::as_bytes(std::span(text)));
}

void PlanWriter::addBytes(SectionKind kind, const std::string &name, std::span<const std::byte> bytes) {
  std::vector<std::byte> stored(ZSTD_compressBound(bytes.size()));
  size_t size = ZSTD_compress(stored.data(), stored.size(), bytes.data(), bytes.size(), compressionLevel);
  assert(!ZSTD_isError(size) && "the buffer is as large as the bound");
  stored.resize(size);
  add(kind, name, std::move(stored), bytes.size(), true);
}

std::vector<uint64_t> PlanWriter::embeddedOffsets(std::span<const uint64_t> fileSizes) {
  std::vector<uint64_t> offsets;
  uint64_t next = 0;
  for (uint64_t size : fileSizes) {
    offsets.push_back(next);
    next = alignUp(next + size, sectionAlignment);
  }
  return offsets;
}

/// XXH3-64 of the weights section: the files and the padding before each.
static uint64_t embeddedChecksum(std::span<const MappedFile> files, uint64_t &size) {
  Hasher hasher;
  size = 0;
  for (const MappedFile &file : files) {
    std::span<const std::byte> padding = zeros(alignUp(size, sectionAlignment) - size);
    hasher.add(padding);
    hasher.add(file.bytes());
    size += padding.size() + file.bytes().size();
  }
  return hasher.digest64();
}

Result<void> PlanWriter::writeTo(const Sink &sink) const {
  std::vector<Section> sections;
  for (const Pending &each : pending)
    sections.push_back(each.section);
  if (!embedded.empty()) {
    Section weights;
    weights.kind = SectionKind::Weights;
    weights.checksum = embeddedChecksum(embedded, weights.size);
    weights.uncompressedSize = weights.size;
    sections.push_back(weights);
  }

  std::vector<std::byte> head(sizeof(FileHeader) + sections.size() * sizeof(TableEntry));
  uint64_t end = head.size();
  for (size_t i = 0; i < sections.size(); ++i) {
    end = alignUp(end, sectionAlignment);
    TableEntry entry = {};
    entry.kind = uint32_t(sections[i].kind);
    entry.compression = sections[i].compressed;
    entry.offset = end;
    entry.size = sections[i].size;
    entry.uncompressedSize = sections[i].uncompressedSize;
    entry.checksum = sections[i].checksum;
    std::memcpy(entry.name, sections[i].name.data(), sections[i].name.size());
    std::memcpy(head.data() + sizeof(FileHeader) + i * sizeof(TableEntry), &entry, sizeof(entry));
    end += entry.size;
  }
  FileHeader header = {};
  std::memcpy(header.magic, fileMagic, sizeof(fileMagic));
  header.endian = endianMark;
  header.version = formatVersion;
  header.sections = uint32_t(sections.size());
  header.fileSize = end;
  std::memcpy(head.data(), &header, sizeof(header));
  header.checksum = hash64(head);
  std::memcpy(head.data(), &header, sizeof(header));

  uint64_t written = 0;
  auto put = [&](std::span<const std::byte> bytes) {
    written += bytes.size();
    return sink(bytes);
  };
  auto pad = [&] { return put(zeros(alignUp(written, sectionAlignment) - written)); };
  FUSEBOX_TRY(put(head));
  for (const Pending &each : pending) {
    FUSEBOX_TRY(pad());
    FUSEBOX_TRY(put(each.bytes));
  }
  for (const MappedFile &file : embedded) {
    FUSEBOX_TRY(pad());
    FUSEBOX_TRY(put(file.bytes()));
  }
  return {};
}

std::vector<std::byte> PlanWriter::encode() const {
  std::vector<std::byte> bytes;
  auto collected = writeTo([&](std::span<const std::byte> part) -> Result<void> {
    bytes.insert(bytes.end(), part.begin(), part.end());
    return {};
  });
  assert(collected && "collecting in memory does not fail");
  return bytes;
}

Result<void> PlanWriter::write(const std::string &path, const std::function<bool(double)> &progress) const {
  constexpr size_t most = size_t(16) << 20; // bytes between two calls of `progress`
  uint64_t total = 0, written = 0;
  for (const Pending &each : pending)
    total += each.bytes.size();
  for (const MappedFile &each : embedded)
    total += each.bytes().size();
  FUSEBOX_ASSIGN(AtomicFile file, AtomicFile::create(path));
  FUSEBOX_TRY(writeTo([&](std::span<const std::byte> part) -> Result<void> {
    for (; !part.empty(); part = part.subspan(std::min(most, part.size()))) {
      std::span<const std::byte> piece = part.first(std::min(most, part.size()));
      FUSEBOX_TRY(file.write(piece));
      written += piece.size();
      if (progress && !progress(std::min(1.0, double(written) / double(total))))
        return resourceError(path + ": writing was cancelled");
    }
    return {};
  }));
  return file.commit();
}
