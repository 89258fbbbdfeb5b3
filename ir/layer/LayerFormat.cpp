// Text forms of the layer dialect that TableGen's formats can't express: node names taken from SSA names, and
// the operations with regions.
#include "ir/layer/LayerOps.h"

#include "mlir/IR/Builders.h"
#include "llvm/ADT/StringExtras.h"

#include <charconv>

using namespace mlir;
using namespace fusebox::layer;

//===-- Node names -----------------------------------------------------------------------------===//

/// `%q = layer.linear …` names the node "q"; `as "q"` overrides; `%0` names nothing.
static ParseResult parseNode(OpAsmParser &parser, StringAttr &node) {
  if (succeeded(parser.parseOptionalKeyword("as"))) {
    std::string name;
    if (parser.parseString(&name))
      return failure();
    node = parser.getBuilder().getStringAttr(name);
    return success();
  }
  StringRef name = parser.getNumResults() ? parser.getResultName(0).first : StringRef();
  if (!name.empty() && !llvm::isDigit(name.front()))
    node = parser.getBuilder().getStringAttr(name);
  return success();
}

static void printNode(OpAsmPrinter &printer, Operation *op, StringAttr node) {
  if (!node)
    return;
  std::string printed;
  llvm::raw_string_ostream stream(printed);
  printer.printOperand(op->getResult(0), stream);
  if (StringRef(printed).drop_front() != node.getValue())
    printer << " as " << node;
}

//===-- Numbers --------------------------------------------------------------------------------===//

/// The shortest digits that read back as the same number.
template <typename T> static void printShortest(OpAsmPrinter &printer, T number) {
  char text[32];
  auto end = std::to_chars(text, text + sizeof text, number).ptr;
  StringRef digits(text, end - text);
  // MLIR's number literals need a point before the exponent.
  auto [mantissa, exponent] = digits.split('e');
  printer << mantissa << (mantissa.contains('.') ? "" : ".0");
  if (!exponent.empty())
    printer << 'e' << exponent;
}

static ParseResult parseNumber(OpAsmParser &parser, FloatAttr &number) {
  double value;
  if (parser.parseFloat(value))
    return failure();
  number = parser.getBuilder().getF64FloatAttr(value);
  return success();
}

static void printNumber(OpAsmPrinter &printer, Operation *, FloatAttr number) {
  if (number)
    printShortest(printer, number.getValueAsDouble());
}

static ParseResult parseFloats(OpAsmParser &parser, DenseF32ArrayAttr &numbers) {
  SmallVector<float> values;
  auto parseOne = [&]() -> ParseResult {
    double value = 0;
    if (parser.parseFloat(value))
      return failure();
    values.push_back(float(value));
    return success();
  };
  if (parser.parseCommaSeparatedList(AsmParser::Delimiter::Square, parseOne))
    return failure();
  numbers = parser.getBuilder().getDenseF32ArrayAttr(values);
  return success();
}

/// MLIR's own form of an f32 array keeps 7 digits, too few to read the same numbers back.
static void printFloats(OpAsmPrinter &printer, Operation *, DenseF32ArrayAttr numbers) {
  printer << "[";
  llvm::interleaveComma(numbers.asArrayRef(), printer, [&](float value) { printShortest(printer, value); });
  printer << "]";
}

//===-- Regions --------------------------------------------------------------------------------===//

void GraphOp::getAsmBlockArgumentNames(Region &region, OpAsmSetValueNameFn setName) {
  constexpr StringLiteral names[] = {"tokens", "positions", "logits_rows"};
  for (auto [argument, name] : llvm::zip(region.getArguments(), names))
    setName(argument, name);
}

ParseResult GraphOp::parse(OpAsmParser &parser, OperationState &state) {
  SmallVector<OpAsmParser::Argument> arguments;
  if (parser.parseArgumentList(arguments, AsmParser::Delimiter::Paren, /*allowType=*/true) ||
      parser.parseOptionalAttrDictWithKeyword(state.attributes))
    return failure();
  return parser.parseRegion(*state.addRegion(), arguments);
}

void GraphOp::print(OpAsmPrinter &printer) {
  printer << "(";
  llvm::interleaveComma(getBody().getArguments(), printer,
                        [&](BlockArgument a) { printer.printRegionArgument(a); });
  printer << ")";
  printer.printOptionalAttrDictWithKeyword((*this)->getAttrs());
  printer << " ";
  printer.printRegion(getBody(), /*printEntryBlockArgs=*/false);
}

void RepeatOp::getAsmResultNames(OpAsmSetValueNameFn setName) { setName(getResult(), getBlock()); }

void RepeatOp::getAsmBlockArgumentNames(Region &region, OpAsmSetValueNameFn setName) {
  if (region.getNumArguments())
    setName(region.getArgument(0), "h");
}

/// `@decoder(%h = %x) layers 0 to 29 : type { … }`; both layer numbers are included.
ParseResult RepeatOp::parse(OpAsmParser &parser, OperationState &state) {
  StringAttr block;
  OpAsmParser::Argument argument;
  OpAsmParser::UnresolvedOperand initial;
  int64_t first, last;
  Builder &builder = parser.getBuilder();
  if (parser.parseSymbolName(block) || parser.parseLParen() || parser.parseArgument(argument) ||
      parser.parseEqual() || parser.parseOperand(initial) || parser.parseRParen() ||
      parser.parseKeyword("layers") || parser.parseInteger(first) || parser.parseKeyword("to") ||
      parser.parseInteger(last) || parser.parseOptionalAttrDictWithKeyword(state.attributes) ||
      parser.parseColonType(argument.type) || parser.resolveOperand(initial, argument.type, state.operands) ||
      parser.parseRegion(*state.addRegion(), argument))
    return failure();
  state.addAttribute(getBlockAttrName(state.name), block);
  state.addAttribute(getFirstAttrName(state.name), builder.getI64IntegerAttr(first));
  state.addAttribute(getCountAttrName(state.name), builder.getI64IntegerAttr(last - first + 1));
  state.addTypes(argument.type);
  return success();
}

void RepeatOp::print(OpAsmPrinter &printer) {
  printer << " ";
  printer.printSymbolName(getBlock());
  printer << "(";
  printer.printRegionArgument(getBody().getArgument(0), {}, /*omitType=*/true);
  printer << " = " << getInitial() << ") layers " << getFirst() << " to " << getFirst() + getCount() - 1;
  printer.printOptionalAttrDictWithKeyword((*this)->getAttrs(),
                                           {getBlockAttrName(), getFirstAttrName(), getCountAttrName()});
  printer << " : " << getInitial().getType() << " ";
  printer.printRegion(getBody(), /*printEntryBlockArgs=*/false);
}

void FusedOp::getAsmResultNames(OpAsmSetValueNameFn setName) {
  if (getNumResults())
    setName(getResult(0), getName());
}

/// Arguments are named after the nodes they stand for.
void FusedOp::getAsmBlockArgumentNames(Region &region, OpAsmSetValueNameFn setName) {
  for (auto [argument, input] : llvm::zip(region.getArguments(), getInputs()))
    if (Operation *definition = input.getDefiningOp())
      setName(argument, nodeName(definition));
}

/// `"name" contract(%a = %x : type, …) -> (types) { … }`
ParseResult FusedOp::parse(OpAsmParser &parser, OperationState &state) {
  StringAttr name;
  StringRef contract;
  SmallVector<OpAsmParser::Argument> arguments;
  SmallVector<OpAsmParser::UnresolvedOperand> inputs;
  SmallVector<Type> types;
  SMLoc contractLoc;
  auto parseInput = [&]() -> ParseResult {
    auto &argument = arguments.emplace_back();
    return failure(parser.parseArgument(argument) || parser.parseEqual() ||
                   parser.parseOperand(inputs.emplace_back()) || parser.parseColonType(argument.type));
  };
  if (parser.parseAttribute(name) || parser.getCurrentLocation(&contractLoc) ||
      parser.parseKeyword(&contract))
    return failure();
  auto kind = symbolizeContract(contract);
  if (!kind)
    return parser.emitError(contractLoc, "expected a contract: exact, wide or fast");
  SMLoc inputsLoc = parser.getCurrentLocation();
  if (parser.parseCommaSeparatedList(AsmParser::Delimiter::Paren, parseInput) ||
      parser.parseOptionalAttrDictWithKeyword(state.attributes) || parser.parseArrow() ||
      parser.parseLParen() || parser.parseTypeList(state.types) || parser.parseRParen())
    return failure();
  for (const OpAsmParser::Argument &argument : arguments)
    types.push_back(argument.type);
  if (parser.resolveOperands(inputs, types, inputsLoc, state.operands) ||
      parser.parseRegion(*state.addRegion(), arguments))
    return failure();
  state.addAttribute(getNameAttrName(state.name), name);
  state.addAttribute(getContractAttrName(state.name), ContractAttr::get(parser.getContext(), *kind));
  return success();
}

void FusedOp::print(OpAsmPrinter &printer) {
  printer << " " << getNameAttr() << " " << stringifyContract(getContract()) << "(";
  llvm::interleaveComma(llvm::zip(getBody().getArguments(), getInputs()), printer, [&](auto pair) {
    auto [argument, input] = pair;
    printer.printRegionArgument(argument, {}, /*omitType=*/true);
    printer << " = " << input << " : " << input.getType();
  });
  printer << ")";
  printer.printOptionalAttrDictWithKeyword((*this)->getAttrs(), {getNameAttrName(), getContractAttrName()});
  printer << " -> (" << getResultTypes() << ") ";
  printer.printRegion(getBody(), /*printEntryBlockArgs=*/false);
}

#define GET_OP_CLASSES
#include "ir/layer/LayerOps.cpp.inc"
