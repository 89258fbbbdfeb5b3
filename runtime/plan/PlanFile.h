// The plan file: a header, a table of sections, the sections (docs/plan-format.md).
//
// The compiler writes one with PlanWriter; the runtime and `inspect` read it with PlanReader. A plan holds
// code, so it is as trusted as a program; checksums guard against damage, not against an author.
#pragma once

#include "runtime/plan/Program.h"
#include "support/MappedFile.h"
#include "support/Result.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace fusebox::plan {

/// Raised when a field or section changes meaning; a reader takes its own version only.
inline constexpr uint32_t formatVersion = 6;

/// What a section holds. Values are part of the format.
enum class SectionKind : uint32_t {
  Program = 1, ///< encodeProgram; the name is the target's, e.g. "cpu:x86-64-v4"; one for each kind of target
  LayerIr = 2, ///< `layer` IR after a phase, as text; the name is the phase
  PlanIr = 3,  ///< `plan` IR as text
  Remarks = 4, ///< verdicts and remarks, JSON
  TextAssets = 5, ///< tokenizer and chat template, as runtime/text encodes them
  Metadata = 6,   ///< JSON object: versions, options, source model
  Weights = 7,    ///< bytes of embedded weight files, back to back, each aligned to 64
};
std::string_view sectionKindName(SectionKind kind);

struct Section {
  SectionKind kind = SectionKind::Program;
  std::string name;
  uint64_t offset = 0;           ///< in the file
  uint64_t size = 0;             ///< in the file
  uint64_t uncompressedSize = 0; ///< equals size when stored plain
  bool compressed = false;       ///< by zstd
  uint64_t checksum = 0;         ///< XXH3-64 of the bytes in the file
};

/// Collects sections and writes them in one go.
class PlanWriter {
public:
  void addProgram(const std::string &name, const Program &program);
  /// Text is compressed.
  void addText(SectionKind kind, const std::string &name, std::string_view text);
  /// Bytes are compressed.
  void addBytes(SectionKind kind, const std::string &name, std::span<const std::byte> bytes);
  /// Files embedded whole, in this order; the k-th starts at embeddedOffsets(sizes)[k] of the weights
  /// section.
  void setEmbeddedWeights(std::vector<MappedFile> files) { embedded = std::move(files); }
  static std::vector<uint64_t> embeddedOffsets(std::span<const uint64_t> fileSizes);

  /// The whole plan as bytes. Not for plans with embedded weights of any size.
  std::vector<std::byte> encode() const;
  /// Writes beside `path` and renames: never half a plan. Fails with ErrorKind::Resource on a full disk, and
  /// when `progress`, which is told the part that is written, returns false.
  Result<void> write(const std::string &path, const std::function<bool(double)> &progress = {}) const;

private:
  struct Pending {
    Section section;
    std::vector<std::byte> bytes;
  };
  std::vector<Pending> pending;
  std::vector<MappedFile> embedded;

  void add(SectionKind kind, const std::string &name, std::vector<std::byte> stored, uint64_t uncompressed,
           bool compressed);
  using Sink = std::function<Result<void>(std::span<const std::byte>)>;
  Result<void> writeTo(const Sink &sink) const;
};

/// A plan in memory, mapped or held. Copies share it.
class PlanReader {
public:
  /// Fails with ErrorKind::Model, saying which: not a plan, foreign-endian, newer or older format, truncated,
  /// damaged.
  static Result<PlanReader> open(const std::string &path);
  /// `name` stands for the path in messages.
  static Result<PlanReader> fromBytes(std::vector<std::byte> bytes, const std::string &name);

  const std::string &path() const { return filePath; }
  std::span<const Section> sections() const { return table; }
  /// The first section of that kind (and name, unless empty), or null.
  const Section *find(SectionKind kind, std::string_view name = {}) const;

  /// A section's bytes after checksum and decompression. Memory is bounded by maxSectionBytes.
  Result<std::vector<std::byte>> read(const Section &section) const;
  Result<std::string> readText(const Section &section) const;
  /// Decodes and checks a program section, embedded weights' place included.
  Result<Program> readProgram(const Section &section) const;

  /// The weights section as it lies in the mapping; empty if there is none. Its checksum is not checked here:
  /// the files in it have content hashes of their own (Program::files).
  std::span<const std::byte> embeddedWeights() const;
  /// Identity of the plan file for the caching rule; null for a plan from bytes.
  const MappedFile *file() const { return mapping ? &*mapping : nullptr; }

private:
  std::string filePath;
  std::span<const std::byte> bytes;
  std::optional<MappedFile> mapping;
  std::shared_ptr<const std::vector<std::byte>> held;
  std::vector<Section> table;

  Result<void> readTable();
};

/// A section's size once decompressed; a larger one is refused before memory is allocated.
inline constexpr uint64_t maxSectionBytes = uint64_t(256) << 20;

} // namespace fusebox::plan
