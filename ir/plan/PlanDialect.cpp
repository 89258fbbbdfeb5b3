// Registers the plan dialect and defines its attributes.
#include "ir/plan/PlanOps.h"

#include "support/DType.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/DialectImplementation.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace fusebox::plan;

#include "ir/plan/PlanDialect.cpp.inc"
#include "ir/plan/PlanEnums.cpp.inc"

/// The keyword `loop` of a variant, which is there or not.
static OptionalParseResult parseLoop(AsmParser &parser, bool &loop) {
  loop = succeeded(parser.parseOptionalKeyword("loop"));
  return loop ? OptionalParseResult(success()) : std::nullopt;
}
static void printLoop(AsmPrinter &printer, bool) { printer << "loop"; }

#define GET_ATTRDEF_CLASSES
#include "ir/plan/PlanAttrs.cpp.inc"

void PlanDialect::initialize() {
  addAttributes<
#define GET_ATTRDEF_LIST
#include "ir/plan/PlanAttrs.cpp.inc"
      >();
  addOperations<
#define GET_OP_LIST
#include "ir/plan/PlanOps.cpp.inc"
      >();
}

//===-- DimAttr
//-----------------------------------------------------------------------------------------------===//

Attribute DimAttr::parse(AsmParser &parser, Type) {
  int64_t count = 0, tile = 1;
  RowExtent extent = RowExtent::Fixed;
  SMLoc loc = parser.getCurrentLocation();
  if (parser.parseLess() || parser.parseInteger(count))
    return {};
  if (succeeded(parser.parseOptionalKeyword("x"))) {
    StringRef name;
    if (parser.parseKeyword(&name))
      return {};
    auto parsed = symbolizeRowExtent(name);
    if (!parsed)
      return parser.emitError(loc, "no extent is named '") << name << "'", Attribute();
    extent = *parsed;
    if (parser.parseKeyword("per") || parser.parseInteger(tile))
      return {};
  }
  if (parser.parseGreater())
    return {};
  return parser.getChecked<DimAttr>(loc, parser.getContext(), count, extent, tile);
}

void DimAttr::print(AsmPrinter &printer) const {
  printer << "<" << getCount();
  if (getExtent() != RowExtent::Fixed)
    printer << " x " << stringifyRowExtent(getExtent()) << " per " << getTile();
  printer << ">";
}

LogicalResult DimAttr::verify(function_ref<InFlightDiagnostic()> emitError, int64_t count, RowExtent extent,
                              int64_t tile) {
  constexpr int64_t limit = std::numeric_limits<uint32_t>::max();
  if (count < 0 || count > limit || tile < 1 || tile > limit)
    return emitError() << "a grid's counts are from 0 and its tiles from 1 to " << limit;
  if (extent == RowExtent::Fixed && tile != 1)
    return emitError() << "a fixed dimension has no tile";
  return success();
}

//===-- Other attributes
//--------------------------------------------------------------------------------------===//

LogicalResult VariantAttr::verify(function_ref<InFlightDiagnostic()> emitError, FlatSymbolRefAttr kernel,
                                  int64_t maxRows, int64_t minKeys, int64_t belowKeys, bool,
                                  ArrayRef<DimAttr> grid) {
  if (maxRows < 1 || maxRows > std::numeric_limits<uint32_t>::max())
    return emitError() << "a variant is for at least one row";
  if (minKeys < 0 || minKeys > std::numeric_limits<uint32_t>::max())
    return emitError() << "a variant is for 0 to 4294967295 keys, not " << minKeys;
  if (belowKeys < 0 || belowKeys > std::numeric_limits<uint32_t>::max())
    return emitError() << "a variant is for fewer than 0 (any) to 4294967295 keys, not " << belowKeys;
  if (grid.empty() || grid.size() > 3)
    return emitError() << "a grid has one to three dimensions, not " << grid.size();
  return success();
}

LogicalResult SourceAttr::verify(function_ref<InFlightDiagnostic()> emitError, FlatSymbolRefAttr file,
                                 uint64_t offset, uint64_t bytes, StringRef dtype, ArrayRef<int64_t> shape) {
  auto type = dtypeFromName(std::string_view(dtype));
  if (!type)
    return emitError() << "no element type is named '" << dtype << "'";
  uint64_t elements = 1;
  for (int64_t size : shape)
    elements *= uint64_t(size);
  BlockSize block = blockSize(*type);
  if (elements / block.elements * block.bytes != bytes)
    return emitError() << "a source of " << elements << " elements of " << dtype << " takes "
                       << elements / block.elements * block.bytes << " bytes, not " << bytes;
  return success();
}

LogicalResult NodeValueAttr::verify(function_ref<InFlightDiagnostic()> emitError, StringRef node, int64_t arg,
                                    StringRef dtype, int64_t columns, int64_t firstByte) {
  if (!dtypeFromName(std::string_view(dtype)))
    return emitError() << "no element type is named '" << dtype << "'";
  if (arg < 0 || columns < 1 || firstByte < 0)
    return emitError() << "a node's value has an argument and at least one column";
  return success();
}
