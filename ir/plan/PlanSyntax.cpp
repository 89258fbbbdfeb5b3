// Text of the plan dialect's operations that a declarative format can't say.
#include "ir/plan/PlanOps.h"

#include "mlir/IR/Builders.h"

using namespace mlir;
using namespace fusebox::plan;

using OperandList = SmallVectorImpl<OpAsmParser::UnresolvedOperand>;

/// Parses one of `out`, `out @symbol`, `@symbol` and, where `operands` is given, an SSA value.
static ParseResult parseArg(OpAsmParser &parser, SmallVectorImpl<Attribute> &args, OperandList *operands) {
  MLIRContext *context = parser.getContext();
  bool out = succeeded(parser.parseOptionalKeyword("out"));
  Access access = out ? Access::Out : Access::In;
  if (StringAttr symbol; succeeded(parser.parseOptionalSymbolName(symbol))) {
    args.push_back(ArgAttr::get(context, access, FlatSymbolRefAttr::get(symbol)));
    return success();
  }
  if (!operands)
    return parser.emitError(parser.getCurrentLocation(), "expected a buffer, weight, constant or KV cache");
  if (!out && parser.parseOperand(operands->emplace_back()))
    return failure();
  args.push_back(ArgAttr::get(context, access, {}));
  return success();
}

static ParseResult parseCallArgs(OpAsmParser &parser, ArrayAttr &args, OperandList &operands) {
  SmallVector<Attribute> parsed;
  if (parser.parseCommaSeparatedList(AsmParser::Delimiter::Paren,
                                     [&] { return parseArg(parser, parsed, &operands); }))
    return failure();
  args = ArrayAttr::get(parser.getContext(), parsed);
  return success();
}

static void printCallArgs(OpAsmPrinter &printer, Operation *, ArrayAttr args, OperandRange operands) {
  printer << "(";
  unsigned operand = 0;
  llvm::interleaveComma(args.getAsRange<ArgAttr>(), printer, [&](ArgAttr arg) {
    bool out = arg.getAccess() == Access::Out;
    if (out)
      printer << "out";
    if (arg.getSymbol())
      printer << (out ? " " : "") << arg.getSymbol();
    else if (!out && operand < operands.size())
      printer << operands[operand++];
  });
  printer << ")";
}

static ParseResult parseLaunchArgs(OpAsmParser &parser, ArrayAttr &args) {
  SmallVector<Attribute> parsed;
  if (parser.parseCommaSeparatedList(AsmParser::Delimiter::Paren,
                                     [&] { return parseArg(parser, parsed, nullptr); }))
    return failure();
  args = ArrayAttr::get(parser.getContext(), parsed);
  return success();
}

static void printLaunchArgs(OpAsmPrinter &printer, Operation *op, ArrayAttr args) {
  printCallArgs(printer, op, args, OperandRange(op->operand_end(), op->operand_end()));
}

/// Results are named after the nodes they compute.
void CallOp::getAsmResultNames(OpAsmSetValueNameFn setName) {
  for (auto [result, node] : llvm::zip(getResults(), getNodes().getAsRange<StringAttr>()))
    setName(result, node.getValue());
}

//===-- loop
//--------------------------------------------------------------------------------------------------===//

void LoopOp::getAsmResultNames(OpAsmSetValueNameFn setName) {
  if (getResult())
    setName(getResult(), getBlock());
}

void LoopOp::getAsmBlockArgumentNames(Region &region, OpAsmSetValueNameFn setName) {
  if (region.getNumArguments())
    setName(region.getArgument(0), "h");
}

/// `@decoder layers 0 to 29 (%h = %x : tensor<?x576xbf16>) { … }`; both layer numbers are included.
ParseResult LoopOp::parse(OpAsmParser &parser, OperationState &result) {
  StringAttr block;
  int64_t first = 0, last = 0;
  if (parser.parseSymbolName(block, "block", result.attributes) || parser.parseKeyword("layers") ||
      parser.parseInteger(first) || parser.parseKeyword("to") || parser.parseInteger(last))
    return failure();
  SmallVector<OpAsmParser::Argument, 1> arguments;
  if (succeeded(parser.parseOptionalLParen())) {
    OpAsmParser::UnresolvedOperand initial;
    OpAsmParser::Argument &argument = arguments.emplace_back();
    if (parser.parseArgument(argument) || parser.parseEqual() || parser.parseOperand(initial) ||
        parser.parseColonType(argument.type) || parser.parseRParen() ||
        parser.resolveOperand(initial, argument.type, result.operands))
      return failure();
    result.addTypes(argument.type);
  }
  Builder &builder = parser.getBuilder();
  result.addAttribute("first", builder.getI64IntegerAttr(first));
  result.addAttribute("count", builder.getI64IntegerAttr(last - first + 1));
  if (parser.parseOptionalAttrDictWithKeyword(result.attributes))
    return failure();
  return parser.parseRegion(*result.addRegion(), arguments);
}

void LoopOp::print(OpAsmPrinter &printer) {
  printer << " ";
  printer.printSymbolName(getBlock());
  printer << " layers " << getFirst() << " to " << getFirst() + getCount() - 1;
  if (getInitial()) {
    BlockArgument argument = getBody().getArgument(0);
    printer << " (";
    printer.printRegionArgument(argument, {}, /*omitType=*/true);
    printer << " = " << getInitial() << " : " << argument.getType() << ")";
  }
  printer.printOptionalAttrDictWithKeyword((*this)->getAttrs(), {"block", "first", "count"});
  printer << " ";
  printer.printRegion(getBody(), /*printEntryBlockArgs=*/false);
}

//===-- pointwise
//---------------------------------------------------------------------------------------------===//

Value PointwiseOp::getYielded() { return cast<YieldOp>(getBody().front().getTerminator()).getValue(); }

/// `@add(%a: bf16, %b: bf16) { … }`
ParseResult PointwiseOp::parse(OpAsmParser &parser, OperationState &result) {
  StringAttr name;
  SmallVector<OpAsmParser::Argument, 2> arguments;
  if (parser.parseSymbolName(name, "sym_name", result.attributes) ||
      parser.parseArgumentList(arguments, OpAsmParser::Delimiter::Paren, /*allowType=*/true) ||
      parser.parseOptionalAttrDictWithKeyword(result.attributes))
    return failure();
  return parser.parseRegion(*result.addRegion(), arguments);
}

void PointwiseOp::print(OpAsmPrinter &printer) {
  printer << " ";
  printer.printSymbolName(getSymName());
  printer << "(";
  llvm::interleaveComma(getBody().getArguments(), printer,
                        [&](BlockArgument argument) { printer.printRegionArgument(argument); });
  printer << ")";
  printer.printOptionalAttrDictWithKeyword((*this)->getAttrs(), {"sym_name"});
  printer << " ";
  printer.printRegion(getBody(), /*printEntryBlockArgs=*/false);
}

#define GET_OP_CLASSES
#include "ir/plan/PlanOps.cpp.inc"
