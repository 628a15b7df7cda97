"""Custom operators from a shared library, which runs in the worker alone."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest

from onnxfuse.verification.evaluate import EvaluationCrashError, EvaluationError, Evaluator

MODEL = '<ir_version: 10, opset_import: ["" : 21, "my.custom" : 1]> g (float[N] x) => (float[N] y) '
# onnxruntime's headers are not in its wheel: of the table of functions, whose beginning never changes, the few that are
# needed are taken by their place.
SOURCE = """
#include <stdint.h>
#include <stddef.h>
typedef void* (*call)();
typedef struct { const call* (*get)(uint32_t); const char* (*version)(void); } base;
enum { CREATE_DOMAIN = 26, ADD_OP = 27, ADD_DOMAIN = 28, DATA = 51, RANK = 61, DIMS = 62, COUNT = 64, SHAPE = 65,
       INPUT = 90, OUTPUT = 91, RELEASE_SHAPE = 99 };
static const call* api;
typedef struct op {
    uint32_t version;
    void* (*create)(struct op*, const void*, const void*);
    const char* (*name)(struct op*);
    const char* (*provider)(struct op*);
    int (*input_type)(struct op*, size_t);
    size_t (*inputs)(struct op*);
    int (*output_type)(struct op*, size_t);
    size_t (*outputs)(struct op*);
    void (*compute)(void*, void*);
    void (*destroy)(void*);
    int (*input_is_optional)(struct op*, size_t);
    int (*output_is_optional)(struct op*, size_t);
    int (*input_memory)(struct op*, size_t);
    void* unused[32];
} op;
static void* create(op* self, const void* table, const void* info) { return self; }
static const char* name(op* self) { return "Triple"; }
static const char* provider(op* self) { return NULL; }
static int type(op* self, size_t index) { return 1; }
static int no(op* self, size_t index) { return 0; }
static size_t one(op* self) { return 1; }
static void destroy(void* kernel) {}
static void compute(void* kernel, void* context) {
    void *input, *output, *shape; float *x, *y; size_t rank, count; int64_t dims[8];
    api[INPUT](context, (size_t)0, &input);
    api[SHAPE](input, &shape);
    api[RANK](shape, &rank);
    api[DIMS](shape, dims, rank);
    api[COUNT](shape, &count);
    api[RELEASE_SHAPE](shape);
    api[OUTPUT](context, (size_t)0, dims, rank, &output);
    api[DATA](input, &x);
    api[DATA](output, &y);
    for (size_t i = 0; i < count; i++) {
        if (x[i] == 13) *(volatile int*)8 = 0;
        y[i] = 3 * x[i];
    }
}
static op triple = {8, create, name, provider, type, one, type, one, compute, destroy, no, no, no};
void* RegisterCustomOps(void* options, const base* given) {
    void* domain;
    api = given->get(8);
    api[CREATE_DOMAIN]("my.custom", &domain);
    api[ADD_OP](domain, &triple);
    return api[ADD_DOMAIN](options, domain);
}
"""


def parse(text: str) -> onnx.ModelProto:
    return onnx.parser.parse_model(MODEL + text)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> str:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    folder = tmp_path_factory.mktemp("library")
    (folder / "triple.c").write_text(SOURCE, encoding="utf-8")
    path = folder / "triple.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-std=gnu11", "-o", path, folder / "triple.c"], check=True)
    return str(path)


def test_a_library_gives_the_operator_and_its_crash_is_an_error(library: str) -> None:
    evaluator = Evaluator(parse("{ a = my.custom.Triple(x) y = Neg(a) }"), custom_op_library=library)
    assert evaluator.backend == "onnxruntime"
    x = np.array([1, 2], np.float32)
    assert [value.tolist() for value in evaluator.run({"x": x}, fetch=["y", "a"])] == [[-3, -6], [3, 6]]
    with pytest.raises(EvaluationCrashError, match="SIGSEGV"):
        evaluator.run({"x": np.array([13], np.float32)})
    assert evaluator.run({"x": x})[0].tolist() == [-3, -6]


def test_an_operator_that_the_library_does_not_have_is_an_error_in_one_line(library: str) -> None:
    with pytest.raises(EvaluationError, match="onnxruntime cannot load the model: .*my.custom:Double") as caught:
        Evaluator(parse("{ y = my.custom.Double(x) }"), custom_op_library=library)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("content", "reason"), [(None, "No such file"), (b"no library", "file too short|invalid ELF")])
def test_a_library_that_is_none_is_an_error_in_one_line(tmp_path: Path, content: bytes | None, reason: str) -> None:
    path = tmp_path / "ops.so"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(EvaluationError, match=rf"custom op library {path}: .*({reason})") as caught:
        Evaluator(parse("{ y = my.custom.Triple(x) }"), custom_op_library=str(path))
    assert "\n" not in str(caught.value)
    assert "reference" not in str(caught.value)
