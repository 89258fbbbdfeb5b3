#include "ir/layer/LayerDialect.h"

#include "ir/layer/LayerOps.h"
#include "support/DType.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/DialectImplementation.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace fusebox;
using namespace fusebox::layer;

/// A type's parameter as a bare word.
static ParseResult parseKeyword(AsmParser &parser, std::string &word) {
  return parser.parseKeywordOrString(&word);
}
static void printKeyword(AsmPrinter &printer, StringRef word) { printer << word; }

#include "ir/layer/LayerDialect.cpp.inc"
#include "ir/layer/LayerEnums.cpp.inc"
#define GET_ATTRDEF_CLASSES
#include "ir/layer/LayerAttrs.cpp.inc"
#define GET_TYPEDEF_CLASSES
#include "ir/layer/LayerTypes.cpp.inc"

void LayerDialect::initialize() {
  addAttributes<
#define GET_ATTRDEF_LIST
#include "ir/layer/LayerAttrs.cpp.inc"
      >();
  addTypes<
#define GET_TYPEDEF_LIST
#include "ir/layer/LayerTypes.cpp.inc"
      >();
  addOperations<
#define GET_OP_LIST
#include "ir/layer/LayerOps.cpp.inc"
      >();
}

LogicalResult BlockType::verify(function_ref<InFlightDiagnostic()> emitError, StringRef format) {
  auto type = fusebox::dtypeFromName(format);
  if (!type || !fusebox::isBlockQuantised(*type))
    return emitError() << "'" << format
                       << "' is no block format: expected q4_0, q4_1, q5_0, q5_1, q8_0, q4_k, q5_k or q6_k";
  return success();
}

LogicalResult SourceAttr::verify(function_ref<InFlightDiagnostic()> emitError, uint64_t, uint64_t,
                                 uint64_t bytes, StringRef dtype, ArrayRef<int64_t> shape) {
  auto type = fusebox::dtypeFromName(dtype);
  if (!type)
    return emitError() << "'" << dtype << "' is no element type";
  BlockSize block = fusebox::blockSize(*type);
  uint64_t elements = 1;
  for (int64_t extent : shape)
    elements *= uint64_t(extent);
  if (elements % block.elements || elements / block.elements * block.bytes != bytes)
    return emitError() << elements << " elements of " << dtype << " don't take " << bytes << " bytes";
  return success();
}
