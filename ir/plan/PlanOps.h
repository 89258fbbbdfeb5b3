// The plan dialect's C++ classes. Used by passes, codegen/plan and the compiler; the runtime never sees them.
#pragma once

#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/IR/SymbolTable.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

#include <limits>

#include "ir/plan/PlanDialect.h.inc"
#include "ir/plan/PlanEnums.h.inc"

#define GET_ATTRDEF_CLASSES
#include "ir/plan/PlanAttrs.h.inc"

#define GET_OP_CLASSES
#include "ir/plan/PlanOps.h.inc"
