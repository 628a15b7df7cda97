"""The error codes of atc and of what compiles behind it: what each means, and what to do."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

__all__ = ["ERROR_CODES", "codes_in", "explain"]

# A letter, one sign and four digits, as a word of its own: no piece of a path or a name.
_CODE: Final = re.compile(r"(?<![\w./-])[EW][0-9A-Z][0-9]{4}(?![\w/-]|\.\w)", re.ASCII)


@dataclass(frozen=True)
class ErrorCode:
    """An error (E) or a warning (W) of the vendor's.

    Attributes:
        code: Its code: "E10016".
        meaning: What it says, in plain words.
        cure: What to do.
        options: The options of atc that cause or cure it.
        passes: The passes of onnxfuse that can cure it.
    """

    code: str
    meaning: str
    cure: str
    options: tuple[str, ...] = ()
    passes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.code}: {self.meaning}; {self.cure}"


def codes_in(text: str) -> tuple[str, ...]:
    """Returns the codes of errors and warnings in a log, each once, in the order in which they first stand there."""
    return tuple(dict.fromkeys(_CODE.findall(text)))


def explain(code: str) -> str:
    """Returns what a code means and what to do, of one that is not known as much as its first signs tell."""
    known = ERROR_CODES.get(code)
    if known is not None:
        return str(known)
    owner = next((what for prefix, what in _OWNERS.items() if code.startswith(prefix)), "the converter")
    kind = "a warning" if code.startswith("W") else "an error"
    return f"{code}: {kind} of {owner} that onnxfuse has no explanation for; read the lines after it in the log"


_OWNERS: Final = {
    "E4": "the compiler of operators",
    "EZ": "the layer of operators",
    "E8": "the inference of operators",
    "EI": "the communication between devices",
    "E16": "the reader of ONNX files",
    "W16": "the reader of ONNX files",
}

_DYNAMIC: Final = ("dynamic_batch_size", "dynamic_image_size", "dynamic_dims")
_INNER: Final = (
    "an error inside the tool, with no cause that it knows",
    "the indented lines after it in the log name the operator and the function; --log=debug writes more to ~/ascend/log",
)

_ALL: Final = (
    # ------------------------------------------------------------------ options
    ErrorCode("E10001", "a value of an option is not possible", "the reason follows in its line: give another value"),
    ErrorCode("E10002", "--input_shape cannot be read", 'write "name:1,3,224,224;other:1,10"', ("input_shape",)),
    ErrorCode("E10003", "a value of an option is not possible", "the reason follows in its line: give another value"),
    ErrorCode("E10004", "an option is given without a value", "write --name=value, without a blank between"),
    ErrorCode("E10005", "an option takes true or false only", "give one of them"),
    ErrorCode("E10006", "an option takes 0 or 1 only", "give one of them"),
    ErrorCode(
        "E10007", "--framework is missing or none of 0, 1, 3 and 5", "give --framework=5 for ONNX", ("framework",)
    ),
    ErrorCode("E10008", "a Caffe model has no --weight", "give --framework=5 where the model is ONNX", ("framework",)),
    ErrorCode(
        "E10009",
        "options that exclude each other fill the shapes",
        "give one of them",
        (*_DYNAMIC, "input_shape_range"),
    ),
    ErrorCode("E10010", "--log is no level", "give debug, info, warning, error or null", ("log",)),
    ErrorCode(
        "E10011",
        "a size in --input_shape is not positive",
        "give a size, or for -1 the profiles that fill it",
        ("input_shape", *_DYNAMIC),
    ),
    ErrorCode(
        "E10012",
        "an input without dims has no batch for --dynamic_batch_size",
        "give its dims, or leave the option out",
        ("input_shape", "dynamic_batch_size"),
    ),
    ErrorCode("E10013", "a value of an option is out of its range", "give a smaller one"),
    ErrorCode("E10014", "a value of an option is not possible", "give another one: `atc --help` shows its form"),
    ErrorCode(
        "E10016",
        "a name in an option is no node of the model",
        "name nodes as the model does, with `;` between; a rewrite may have renamed it, which `onnxfuse atc` follows",
        ("input_shape", "out_nodes", "input_fp16_nodes"),
    ),
    ErrorCode(
        "E10017",
        "a name in an option is a node but no input",
        "name an input of the graph",
        ("input_shape", "input_fp16_nodes"),
    ),
    ErrorCode(
        "E10018",
        "-1 stands on another axis than the first, and --dynamic_batch_size fills that only",
        "give a size there, or use --dynamic_dims",
        ("input_shape", "dynamic_batch_size", "dynamic_dims"),
    ),
    ErrorCode(
        "E10019",
        "-1 stands elsewhere than for height and width, which --dynamic_image_size fills",
        "give sizes there, and -1 for both of these",
        ("input_shape", "dynamic_image_size"),
    ),
    ErrorCode("E10020", "--dynamic_image_size cannot be read", 'write "480,640;720,960"', ("dynamic_image_size",)),
    ErrorCode("E10021", "a path is too long", "give a shorter one"),
    ErrorCode("E10022", "a path names no file", "add the file's name", ("output",)),
    *(
        ErrorCode(
            f"E100{number}", "the file of --singleop is not possible", "leave the option out for a model", ("singleop",)
        )
        for number in range(23, 31)
    ),
    ErrorCode(
        "E10031",
        "no first axis is -1, and --dynamic_batch_size fills one",
        "write -1 for the batch in --input_shape, or leave the option out",
        ("input_shape", "dynamic_batch_size"),
    ),
    ErrorCode("E10032", "a JSON file cannot be read", "check it with a JSON reader"),
    ErrorCode(
        "E10034",
        "an input with AIPP is declared float16 too",
        "take it out of --input_fp16_nodes, or leave AIPP out",
        ("input_fp16_nodes", "insert_op_conf"),
    ),
    ErrorCode(
        "E10035", "there are too few profiles", "give 2 at least, or write the sizes into --input_shape", _DYNAMIC
    ),
    ErrorCode("E10036", "there are too many profiles", "give 100 at most", _DYNAMIC),
    ErrorCode("E10037", "profiles have different lengths", "give all of them as many sizes", _DYNAMIC),
    ErrorCode("E10038", "a profile has a size that is not positive", "give positive sizes", _DYNAMIC),
    ErrorCode("E10039", "a profile is given twice", "take one away", _DYNAMIC),
    ErrorCode(
        "E10040",
        "profiles are given, and --input_shape has no -1 for them, or a range",
        "write -1 for the axes that they fill",
        ("input_shape", *_DYNAMIC),
    ),
    ErrorCode(
        "E10041",
        "the model cannot be loaded",
        "check --framework (5 for ONNX), that the file is whole (`onnxfuse inspect` reads it), and that one over 2 GiB keeps its "
        "weights in files of their own, beside it",
        ("model", "framework"),
    ),
    ErrorCode("E10044", "tuning failed", "leave --auto_tune_mode out, or tune with aoe", ("auto_tune_mode",)),
    ErrorCode(
        "E10045",
        "an input has more axes of -1 than a profile has sizes",
        "give one size for each -1, in the order of the inputs",
        ("input_shape", "dynamic_dims"),
    ),
    ErrorCode(
        "E10046",
        "the inputs have more axes of -1 than a profile has sizes",
        "give one size for each -1, in the order of the inputs",
        ("input_shape", "dynamic_dims"),
    ),
    ErrorCode("E10047", "two options exclude each other", "leave one of them out"),
    ErrorCode(
        "E10048", "--input_shape_range cannot be read", 'write "name:[1~10,3,-1];other:[4]"', ("input_shape_range",)
    ),
    ErrorCode(
        "E10049",
        "--input_shape gives an input another number of dims than it has",
        "give as many as the model has: `onnxfuse inspect` shows them",
        ("input_shape",),
    ),
    ErrorCode(
        "E10050",
        "a size of the model is outside the range that is given for it",
        "widen the range, or export the model with a symbolic dim",
        ("input_shape", "input_shape_range"),
    ),
    ErrorCode(
        "E10052", "the configuration of AIPP is not possible", "the reason follows in its line", ("insert_op_conf",)
    ),
    ErrorCode(
        "E10054",
        "a required option is empty",
        "quote values with `;`, blanks or brackets, and give all that is required",
    ),
    ErrorCode("E10055", "this is not supported", "the reason follows in its line"),
    ErrorCode("E10056", "two options do not go together", "leave one of them out"),
    ErrorCode("E10057", "two options go together only", "give both, or none"),
    ErrorCode("E10058", "an option is missing or empty", "give it a value"),
    # ------------------------------------------------------------------ buffers, files
    *(
        ErrorCode(
            f"E1040{number}",
            "the number or the size of the buffers is not what the model has",
            "give each input whole, in the type and shape that the model was compiled for",
        )
        for number in range(1, 7)
    ),
    ErrorCode("E10410", "a file does not exist", "check the paths of the options"),
    ErrorCode(
        "E10501",
        "a type of operator is unknown to the installed operators",
        "check ASCEND_OPP_PATH (source set_env.sh), and install the operators for this chip",
    ),
    # ------------------------------------------------------------------ the graph
    ErrorCode(
        "E11010",
        "the attributes of an operator cannot be read",
        "the line names it: check its attributes and its opset",
    ),
    ErrorCode(
        "E11016",
        "an entry of --out_nodes has no such output",
        "give an index that the node has: name:0",
        ("out_nodes",),
    ),
    ErrorCode(
        "E11017",
        "a node of --out_nodes is not in the model",
        "name a node of the model; a rewrite may have renamed it, which `onnxfuse atc` follows",
        ("out_nodes",),
    ),
    ErrorCode(
        "E11018",
        "the name of an operator has a sign that atc does not take",
        "rename it: letters, digits, `-`, `.`, `_`, `/`",
    ),
    ErrorCode("E12009", "an input of an operator is not in the graph", "check the model: `onnxfuse inspect` reads it"),
    ErrorCode("E12013", "a subgraph is missing", "check the model: `onnxfuse inspect` reads it"),
    ErrorCode("E13000", "a path is empty or does not exist", "check the paths of the options"),
    ErrorCode("E13001", "a file cannot be opened", "check that it is there and may be read"),
    ErrorCode("E13002", "a path is too long", "give a shorter one"),
    ErrorCode("E13003", "a file cannot be read", "check that it is whole and may be read"),
    ErrorCode(
        "E13004", "a file cannot be written", "check the folder's permissions and the space on its disk", ("output",)
    ),
    ErrorCode(
        "E13005",
        "a file cannot be read as what it should be",
        "check --framework (5 for ONNX), and the file",
        ("framework",),
    ),
    ErrorCode("E13006", "a file has another type than is expected", "check the paths of the options"),
    ErrorCode("E13009", "two operators have one name", "give each a name of its own"),
    ErrorCode(
        "E13010",
        "no converter is installed for a type of operator",
        "rewrite it in operators that are supported; where constants alone feed it, onnxsim folds it away",
        passes=("onnxsim",),
    ),
    ErrorCode("E13014", "a value of an operator's attribute is not possible", "the line names it and the reason"),
    ErrorCode("E13015", "a file is empty or too large", "keep the weights of a large model in files of their own"),
    ErrorCode(
        "E13023", "the compiled model is too large to be written", "keep its weights apart", ("external_weight",)
    ),
    ErrorCode("E13024", "a variable of the environment is not possible", "source set_env.sh anew"),
    ErrorCode("E13025", "an input is not possible", "the reason follows in its line", ("input_shape",)),
    ErrorCode("E13026", "a path is not possible", "the reason follows in its line"),
    ErrorCode(
        "E14001", "an argument of an operator is not possible", "the line names it: check its inputs' types and shapes"
    ),
    ErrorCode("E16001", "the model has no input, or no output", "check the model: `onnxfuse inspect` shows them"),
    ErrorCode(
        "E16002",
        "an ONNX operator has no converter in the version of its opset",
        "export at an opset that this release takes (11 is the safest; convert-opset raises one below 8); where constants alone "
        "feed the operator, onnxsim folds it away; else rewrite it",
        passes=("convert-opset", "onnxsim"),
    ),
    ErrorCode("E16004", "the ONNX file has no graph", "check the model: `onnxfuse inspect` reads it", ("model",)),
    ErrorCode(
        "E16005",
        "the model imports several domains, and nodes do not say which is theirs",
        "take the imports that no node uses out of its opset_import",
    ),
    # ------------------------------------------------------------------ compiling
    ErrorCode("E40001", "the environment of the operators' compiler is not complete", "source set_env.sh"),
    ErrorCode(
        "E40002", "the version of Python is not one that the compiler takes", "use the one that set_env.sh was made for"
    ),
    ErrorCode(
        "E40003", "a JSON file of the compiler cannot be opened", "check the permissions of --debug_dir", ("debug_dir",)
    ),
    ErrorCode("E40020", "a Python module of the operators cannot be imported", "source set_env.sh: it sets PYTHONPATH"),
    ErrorCode(
        "E40021",
        "an operator failed to compile",
        "the lines after it name the operator and its shapes: rewrite it, or give it another precision with --keep_dtype",
        ("keep_dtype", "precision_mode"),
    ),
    ErrorCode(
        "E40022", "a parameter of the operators' compiler is not possible", "the lines after it name the operator"
    ),
    ErrorCode("E49999", *_INNER),
    ErrorCode("E19999", *_INNER),
    ErrorCode("EZ9999", *_INNER),
    ErrorCode("EI9999", *_INNER),
    ErrorCode(
        "E89999",
        "an operator's types or shapes cannot be worked out",
        "the lines after it name the operator: often two operands have different integer types; Cast them to int32, after TopK, "
        "ArgMax or Shape too",
    ),
    # ------------------------------------------------------------------ warnings
    ErrorCode(
        "W11001",
        "an operator runs on a slower implementation, as on the AI CPU",
        "the model works; where it takes time, rewrite the operator: a pool with a window over 255 as ReduceMean, for example",
    ),
    ErrorCode(
        "W11002", "a list of weights to compress names unknown nodes", "check the list", ("compress_weight_conf",)
    ),
    ErrorCode("W11003", "an operator lacks a part of its implementation", "install the operators for this chip"),
)

ERROR_CODES: Final[Mapping[str, ErrorCode]] = MappingProxyType({entry.code: entry for entry in _ALL})
"""What is known of each code."""
