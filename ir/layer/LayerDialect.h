// The layer dialect, its types, enums and attributes. Operations are in LayerOps.h.
#pragma once

#include "mlir/IR/Attributes.h"
#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/IR/Types.h"

#include "ir/layer/LayerDialect.h.inc"
#include "ir/layer/LayerEnums.h.inc"

#define GET_ATTRDEF_CLASSES
#include "ir/layer/LayerAttrs.h.inc"
#define GET_TYPEDEF_CLASSES
#include "ir/layer/LayerTypes.h.inc"
