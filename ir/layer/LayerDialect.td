// The layer dialect: a language model as a graph of semantic operations with its rounding points.
#ifndef FUSEBOX_IR_LAYER_LAYERDIALECT_TD
#define FUSEBOX_IR_LAYER_LAYERDIALECT_TD

include "mlir/IR/AttrTypeBase.td"
include "mlir/IR/EnumAttr.td"
include "mlir/IR/OpBase.td"

def Layer_Dialect : Dialect {
  let name = "layer";
  let cppNamespace = "::fusebox::layer";
  let summary = "A language model as its authors wrote it: semantic operations and where each rounds.";
  let description = [{
    A value is a tensor whose rows are the tokens of one ragged step (`tensor<?x576xbf16>`). Its element type says how
    the operation that made it rounds at its end: once, to nearest, ties to even. Rounding points *inside* an operation
    are named by an attribute, so that the IR alone says what the reference computes.

    The layers of a model are one body in a `layer.repeat`: the IR does not grow with depth. Parameters are symbols;
    inside a repeat, a parameter with `layers` stands for the current layer's tensor.
  }];
  let useDefaultAttributePrinterParser = 1;
  let useDefaultTypePrinterParser = 1;
}

class Layer_Type<string name, string mnemonic_, list<Trait> traits = []> : TypeDef<Layer_Dialect, name, traits> {
  let mnemonic = mnemonic_;
}

def Layer_BlockType : Layer_Type<"Block", "block"> {
  let summary = "element of a block-quantised GGUF tensor, e.g. `!layer.block<q4_1>`";
  let description = "Values of one row are stored in blocks of 32 or 256 with shared scales (support/DType.h).";
  let parameters = (ins StringRefParameter<"DType name: q4_0, q4_1, q5_0, q5_1, q8_0, q4_k, q5_k, q6_k">:$format);
  let assemblyFormat = "`<` custom<Keyword>($format) `>`";
  let genVerifyDecl = 1;
}

def Layer_Source : AttrDef<Layer_Dialect, "Source"> {
  let mnemonic = "source";
  let summary = "where a stored tensor's bytes are";
  let description = "`file` counts in the model's `files`; `at` counts bytes from the file's start.";
  let parameters = (ins "uint64_t":$file, "uint64_t":$offset, "uint64_t":$bytes,
                    StringRefParameter<"DType name">:$dtype, ArrayRefParameter<"int64_t">:$shape);
  let assemblyFormat = "`<` $file `at` $offset `bytes` $bytes custom<Keyword>($dtype) ` ` `[` $shape `]` `>`";
  let genVerifyDecl = 1;
}

class Layer_Enum<string name, string summary, list<I32EnumAttrCase> cases> : I32EnumAttr<name, summary, cases> {
  let cppNamespace = "::fusebox::layer";
  let genSpecializedAttr = 0;
}
class Layer_EnumAttr<Layer_Enum info, string mnemonic> : EnumAttr<Layer_Dialect, info, mnemonic> {
  let assemblyFormat = "`` $value";
}

def Layer_NormRoundingEnum : Layer_Enum<"NormRounding", "where layer.norm rounds", [
  I32EnumAttrCase<"NormalisedAndScaled", 0, "normalised_and_scaled">,
  I32EnumAttrCase<"Scaled", 1, "scaled">]>;
def Layer_NormRounding : Layer_EnumAttr<Layer_NormRoundingEnum, "norm_rounding">;

def Layer_RopeRoundingEnum : Layer_Enum<"RopeRounding", "where layer.rope rounds", [
  I32EnumAttrCase<"ProductsAndSum", 0, "products_and_sum">,
  I32EnumAttrCase<"Sum", 1, "sum">]>;
def Layer_RopeRounding : Layer_EnumAttr<Layer_RopeRoundingEnum, "rope_rounding">;

def Layer_RopePairsEnum : Layer_Enum<"RopePairs", "which elements of a head RoPE rotates together", [
  I32EnumAttrCase<"HalfSplit", 0, "half_split">,
  I32EnumAttrCase<"Interleaved", 1, "interleaved">]>;
def Layer_RopePairs : Layer_EnumAttr<Layer_RopePairsEnum, "rope_pairs">;

def Layer_AttentionRoundingEnum : Layer_Enum<"AttentionRounding", "where layer.attention rounds", [
  I32EnumAttrCase<"Eager", 0, "eager">,
  I32EnumAttrCase<"Sdpa", 1, "sdpa">]>;
def Layer_AttentionRounding : Layer_EnumAttr<Layer_AttentionRoundingEnum, "attention_rounding">;

def Layer_GluRoundingEnum : Layer_Enum<"GluRounding", "where layer.glu rounds", [
  I32EnumAttrCase<"ActivationAndProduct", 0, "activation_and_product">,
  I32EnumAttrCase<"Product", 1, "product">]>;
def Layer_GluRounding : Layer_EnumAttr<Layer_GluRoundingEnum, "glu_rounding">;

def Layer_ActivationEnum : Layer_Enum<"Activation", "activation function", [
  I32EnumAttrCase<"Silu", 0, "silu">,
  I32EnumAttrCase<"Gelu", 1, "gelu">,
  I32EnumAttrCase<"GeluTanh", 2, "gelu_tanh">]>;
def Layer_Activation : Layer_EnumAttr<Layer_ActivationEnum, "activation">;

def Layer_ContractEnum : Layer_Enum<"Contract", "rounding contract of a fused region (docs/numerics.md)", [
  I32EnumAttrCase<"Exact", 0, "exact">,
  I32EnumAttrCase<"Wide", 1, "wide">,
  I32EnumAttrCase<"Fast", 2, "fast">]>;
def Layer_Contract : Layer_EnumAttr<Layer_ContractEnum, "contract">;

#endif
