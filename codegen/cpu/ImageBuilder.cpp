#include "codegen/cpu/ImageBuilder.h"

#include "llvm/ADT/DenseMap.h"
#include "llvm/BinaryFormat/ELF.h"
#include "llvm/Object/ELFObjectFile.h"
#include "llvm/Support/MathExtras.h"

#include <cstring>

using namespace fusebox;
using namespace fusebox::cpu;
using namespace llvm;
using namespace llvm::object;

namespace {

constexpr uint64_t pageBytes = 4096;

class Builder {
public:
  Result<CompiledImage> build(ArrayRef<KernelObject> objects);

private:
  using Placement = DenseMap<uint64_t, uint64_t>; ///< section index in its object → offset in the image

  std::vector<std::unique_ptr<ObjectFile>> files;
  std::vector<Placement> placements;
  std::vector<std::byte> bytes;
  const KernelObject *current = nullptr;

  fusebox::Error fail(const Twine &what) const {
    return internalError(("code of " + current->entry + ": " + what).str());
  }
  Result<void> open(ArrayRef<KernelObject> objects);
  Result<void> place(ArrayRef<KernelObject> objects, bool code);
  Result<void> relocate(ArrayRef<KernelObject> objects);
  Result<void> relocateSection(size_t object, const SectionRef &section);
  Result<CompiledKernel> findEntry(size_t object);
};

uint64_t flagsOf(const SectionRef &section) { return ELFSectionRef(section).getFlags(); }

Result<void> Builder::open(ArrayRef<KernelObject> objects) {
  for (const KernelObject &object : objects) {
    current = &object;
    auto file = ObjectFile::createELFObjectFile(
        MemoryBufferRef(StringRef(object.bytes.data(), object.bytes.size()), object.entry));
    if (!file)
      return fail(toString(file.takeError()));
    files.push_back(std::move(*file));
  }
  placements.resize(files.size());
  return {};
}

Result<void> Builder::place(ArrayRef<KernelObject> objects, bool code) {
  for (size_t i = 0; i < files.size(); ++i) {
    current = &objects[i];
    for (const SectionRef &section : files[i]->sections()) {
      uint64_t flags = flagsOf(section);
      if (!(flags & ELF::SHF_ALLOC) || section.getSize() == 0 || section.isText() != code)
        continue;
      if ((flags & ELF::SHF_WRITE) || section.isBSS())
        return fail("a kernel has writable data");
      Expected<StringRef> contents = section.getContents();
      if (!contents)
        return fail(toString(contents.takeError()));
      uint64_t offset =
          alignTo(bytes.size(), std::max<uint64_t>(section.getAlignment().value(), code ? 64 : 1));
      placements[i][section.getIndex()] = offset;
      bytes.resize(offset + contents->size());
      std::memcpy(bytes.data() + offset, contents->data(), contents->size());
    }
  }
  return {};
}

Result<void> Builder::relocateSection(size_t object, const SectionRef &section) {
  auto target = section.getRelocatedSection();
  if (!target)
    return fail(toString(target.takeError()));
  if (*target == files[object]->section_end())
    return {};
  auto placed = placements[object].find((*target)->getIndex());
  if (placed == placements[object].end())
    return {};
  for (const RelocationRef &relocation : section.relocations()) {
    Expected<section_iterator> home = relocation.getSymbol()->getSection();
    if (!home)
      return fail(toString(home.takeError()));
    Expected<StringRef> name = relocation.getSymbol()->getName();
    if (*home == files[object]->section_end())
      return fail("it needs the symbol " + (name ? *name : StringRef("?")) + ", which no image has");
    if (relocation.getType() != ELF::R_X86_64_PC32 && relocation.getType() != ELF::R_X86_64_PLT32)
      return fail("relocation type " + Twine(relocation.getType()) + " is not position-independent");
    Expected<uint64_t> value = relocation.getSymbol()->getValue();
    Expected<int64_t> addend = ELFRelocationRef(relocation).getAddend();
    if (!value || !addend)
      return fail("a relocation can't be read");
    uint64_t to = placements[object].lookup((*home)->getIndex()) + *value + *addend;
    uint64_t at = placed->second + relocation.getOffset();
    int64_t distance = int64_t(to) - int64_t(at);
    if (!isInt<32>(distance))
      return fail("the image is too large");
    int32_t word = int32_t(distance);
    std::memcpy(bytes.data() + at, &word, sizeof word);
  }
  return {};
}

Result<void> Builder::relocate(ArrayRef<KernelObject> objects) {
  for (size_t i = 0; i < files.size(); ++i) {
    current = &objects[i];
    for (const SectionRef &section : files[i]->sections())
      FUSEBOX_TRY(relocateSection(i, section));
  }
  return {};
}

Result<CompiledKernel> Builder::findEntry(size_t object) {
  for (const ELFSymbolRef symbol : files[object]->symbols()) {
    Expected<StringRef> name = symbol.getName();
    if (!name || *name != current->entry || symbol.getELFType() != ELF::STT_FUNC)
      continue;
    Expected<section_iterator> home = symbol.getSection();
    Expected<uint64_t> value = symbol.getValue();
    if (home && value && *home != files[object]->section_end())
      return CompiledKernel{placements[object].lookup((*home)->getIndex()) + *value, symbol.getSize()};
  }
  return fail("it does not define its entry");
}

Result<CompiledImage> Builder::build(ArrayRef<KernelObject> objects) {
  FUSEBOX_TRY(open(objects));
  FUSEBOX_TRY(place(objects, true));
  CompiledImage result;
  result.image.codeBytes = alignTo(bytes.size(), pageBytes);
  bytes.resize(result.image.codeBytes);
  FUSEBOX_TRY(place(objects, false));
  FUSEBOX_TRY(relocate(objects));
  for (size_t i = 0; i < files.size(); ++i) {
    current = &objects[i];
    FUSEBOX_ASSIGN(CompiledKernel kernel, findEntry(i));
    result.kernels.push_back(kernel);
  }
  result.image.bytes = std::move(bytes);
  return result;
}

} // namespace

Result<CompiledImage> cpu::buildImage(ArrayRef<KernelObject> objects) { return Builder().build(objects); }
