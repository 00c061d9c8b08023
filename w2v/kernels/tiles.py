"""The innermost arithmetic of `hogwild`: products of a few table rows as vector instructions.

A tile is A centers against TARGETS targets. Its scores, and the updates that follow from them,
are written here as LLVM vector code, which numba puts into the loop that calls it; LLVM splits
the vectors for processors with shorter registers. Every number that is loaded serves several
products, and sums stay in registers: that is where the speed comes from.

Rows and matrices come as addresses, in bytes. A row is D float32, D a multiple of LANES. What is
written in capitals is a constant of the calling code, so nothing here is decided at run time.

Legend: A = centers of a tile; D = padded dimension; L = length of a row of scores.
"""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

LANES = 16  # float32 in a vector: an AVX-512 register, a cache line
TARGETS = 4  # of a tile; with 2 centers, 8 sums at a time keep the processor's adders busy
FLOAT_BYTES = 4
POINTER_BYTES = 8
LINE_BYTES = LANES * FLOAT_BYTES

FLOAT, INT32, INT64 = ir.FloatType(), ir.IntType(32), ir.IntType(64)
VECTOR = ir.VectorType(FLOAT, LANES)
BYTE_POINTER = ir.IntType(8).as_pointer()
ZEROS = ir.Constant(VECTOR, [0.0] * LANES)
# A sum may be taken in any order, and a product and a sum may become one instruction.
ANY_ORDER = ("contract", "reassoc")


class Writer:
    """Writes vector instructions at the builder's place."""

    def __init__(self, builder: ir.IRBuilder) -> None:
        self.builder = builder

    def after(self, at: ir.Value, offset: int | ir.Value) -> ir.Value:
        """The address `offset` bytes further."""
        step = ir.Constant(INT64, offset) if isinstance(offset, int) else offset
        return self.builder.add(at, step)

    def load(self, at: ir.Value, kind: ir.Type = VECTOR) -> ir.Value:
        """What lies at an address; rows need not begin on a cache line."""
        align = POINTER_BYTES if kind is INT64 else FLOAT_BYTES
        return self.builder.load(self.builder.inttoptr(at, kind.as_pointer()), align=align)

    def store(self, value: ir.Value, at: ir.Value) -> None:
        """Puts a value to an address."""
        pointer = self.builder.inttoptr(at, value.type.as_pointer())
        self.builder.store(value, pointer, align=FLOAT_BYTES)

    def plus_product(self, total: ir.Value, x: ir.Value, y: ir.Value) -> ir.Value:
        """The sum total + x * y."""
        product = self.builder.fmul(x, y, flags=ANY_ORDER)
        return self.builder.fadd(product, total, flags=ANY_ORDER)

    def shuffle(self, x: ir.Value, y: ir.Value, lanes: Sequence[int]) -> ir.Value:
        """A vector of lanes of x (from 0) and of y (from LANES)."""
        mask = ir.Constant(ir.VectorType(INT32, len(lanes)), list(lanes))
        return self.builder.shuffle_vector(x, y, mask)

    def spread(self, at: ir.Value) -> ir.Value:
        """A vector of the one number at an address."""
        nothing = ir.Constant(VECTOR, ir.Undefined)
        first = self.builder.insert_element(nothing, self.load(at, FLOAT), ir.Constant(INT32, 0))
        return self.shuffle(first, nothing, [0] * LANES)

    def along_row(
        self, D: int, start: Sequence[ir.Value], body: Callable[..., Sequence[ir.Value]]
    ) -> list[ir.Value]:
        """A loop over the vectors of a row: `body(offset, sums)` gives the sums of the next round.

        `start` goes into the first round; what the last one gives is returned.
        """
        builder, before = self.builder, self.builder.block
        inside = builder.append_basic_block()
        builder.branch(inside)
        builder.position_at_end(inside)
        offset, sums = builder.phi(INT64), [builder.phi(value.type) for value in start]
        results = list(body(offset, sums))
        following = builder.add(offset, ir.Constant(INT64, LINE_BYTES))
        for phi, first, result in zip(
            [offset, *sums], [ir.Constant(INT64, 0), *start], [following, *results], strict=True
        ):
            phi.add_incoming(first, before)
            phi.add_incoming(result, inside)
        outside = builder.append_basic_block()
        more = builder.icmp_signed("<", following, ir.Constant(INT64, D * FLOAT_BYTES))
        builder.cbranch(more, inside, outside)
        builder.position_at_end(outside)
        return results

    def lane_sums(self, vectors: Sequence[ir.Value]) -> ir.Value:
        """The sum over each vector's lanes, in order, in the first lanes of one vector.

        For 1, 2, 4, 8 or 16 vectors. Each round adds neighbors of every vector and lets two
        vectors share one; the first two rounds stay inside groups of four lanes, which is cheap.
        """
        for grain in (1, 1, 4, 4):
            pairs = vectors if len(vectors) > 1 else [*vectors, *vectors]
            vectors = [
                self._neighbor_sums(x, y, grain)
                for x, y in zip(pairs[::2], pairs[1::2], strict=True)
            ]
        return vectors[0]

    def _neighbor_sums(self, x: ir.Value, y: ir.Value, grain: int) -> ir.Value:
        even = [
            vector * LANES + base + place + lane
            for base in range(0, LANES, 4 * grain)
            for vector in (0, 1)
            for place in (0, 2 * grain)
            for lane in range(grain)
        ]
        odd = [lane + grain for lane in even]
        return self.builder.fadd(self.shuffle(x, y, even), self.shuffle(x, y, odd), flags=ANY_ORDER)


def vector_code(write: Callable[..., None]) -> Callable[..., None]:
    """Makes `write` an intrinsic of numba: a call of it is replaced by what it writes.

    Its first parameter is the writer; parameters in capitals are constants, the others int64 or
    float32 values that are known when the code runs.
    """
    parameters = inspect.signature(write)
    names = list(parameters.parameters)[1:]
    value_kinds = {"scale": types.float32}

    def typing(_context: Any, *kinds: types.Type) -> tuple[Any, Callable[..., ir.Value]]:
        kind_of = dict(zip(names, kinds, strict=True))
        constants = {name: kind_of[name].literal_value for name in names if name.isupper()}
        signature = types.void(
            *(
                kind_of[name] if name.isupper() else value_kinds.get(name, types.int64)
                for name in names
            )
        )

        def codegen(context: Any, builder: ir.IRBuilder, _: Any, values: Any) -> ir.Value:
            value_of = dict(zip(names, values, strict=True)) | constants
            write(Writer(builder), **value_of)
            return context.get_dummy_value()

        return signature, codegen

    typing.__name__ = write.__name__
    typing.__doc__ = write.__doc__
    typing.__signature__ = parameters  # type: ignore[attr-defined]  # numba asks for the names
    made: Callable[..., None] = intrinsic(prefer_literal=True)(typing)
    return made


@vector_code
def tile_scores(
    w: Writer, centers_at: Any, targets_at: Any, scores_at: Any, A: int, D: int, L: int
) -> None:
    """scores[a, b] = center a . target b.

    Args:
        w: writes the code.
        centers_at: of A addresses of rows.
        targets_at: of TARGETS rows, one after the other.
        scores_at: of the tile in a matrix whose rows have L numbers.
        A: see the module's legend.
        D: as well.
        L: as well.
    """
    rows = [w.load(w.after(centers_at, a * POINTER_BYTES), INT64) for a in range(A)]

    def add_products(offset: ir.Value, sums: list[ir.Value]) -> list[ir.Value]:
        center = [w.load(w.after(row, offset)) for row in rows]
        first_at = w.after(targets_at, offset)
        target = [w.load(w.after(first_at, b * D * FLOAT_BYTES)) for b in range(TARGETS)]
        pairs = [(x, y) for x in center for y in target]
        return [w.plus_product(total, *pair) for total, pair in zip(sums, pairs, strict=True)]

    scores = w.lane_sums(w.along_row(D, [ZEROS] * (A * TARGETS), add_products))
    for a in range(A):
        row = w.shuffle(scores, scores, range(a * TARGETS, (a + 1) * TARGETS))
        w.store(row, w.after(scores_at, a * L * FLOAT_BYTES))


@vector_code
def tile_update(
    w: Writer,
    centers_at: Any,
    targets_at: Any,
    slopes_at: Any,
    center_steps_at: Any,
    target_steps_at: Any,
    A: int,
    D: int,
    L: int,
) -> None:
    """Adds slope * target to the center's step and slope * center to the target's, of each pair.

    Args:
        w: writes the code.
        centers_at: of A addresses of rows.
        targets_at: of TARGETS rows, one after the other.
        slopes_at: of the tile in a matrix whose rows have L numbers.
        center_steps_at: of A rows, one after the other.
        target_steps_at: of TARGETS rows; `targets_at` itself changes the targets in place.
        A: see the module's legend.
        D: as well.
        L: as well.
    """
    rows = [w.load(w.after(centers_at, a * POINTER_BYTES), INT64) for a in range(A)]
    slope = [
        [w.spread(w.after(slopes_at, (a * L + b) * FLOAT_BYTES)) for b in range(TARGETS)]
        for a in range(A)
    ]

    def add_products(offset: ir.Value, _: list[ir.Value]) -> list[ir.Value]:
        def at(matrix_at: ir.Value, row: int) -> ir.Value:
            return w.after(w.after(matrix_at, offset), row * D * FLOAT_BYTES)

        center = [w.load(w.after(row, offset)) for row in rows]
        target = [w.load(at(targets_at, b)) for b in range(TARGETS)]
        for a in range(A):
            step = w.load(at(center_steps_at, a))
            for b in range(TARGETS):
                step = w.plus_product(step, slope[a][b], target[b])
            w.store(step, at(center_steps_at, a))
        for b in range(TARGETS):
            step = w.load(at(target_steps_at, b))
            for a in range(A):
                step = w.plus_product(step, slope[a][b], center[a])
            w.store(step, at(target_steps_at, b))
        return []

    w.along_row(D, [], add_products)


@vector_code
def copy_row(w: Writer, row_at: Any, first_at: Any, second_at: Any, D: int) -> None:
    """Copies a row to two places."""
    for offset in range(0, D * FLOAT_BYTES, LINE_BYTES):
        values = w.load(w.after(row_at, offset))
        w.store(values, w.after(first_at, offset))
        w.store(values, w.after(second_at, offset))


@vector_code
def add_difference(w: Writer, row_at: Any, after_at: Any, before_at: Any, D: int) -> None:
    """Adds after - before to a row."""
    for offset in range(0, D * FLOAT_BYTES, LINE_BYTES):
        after, before = w.load(w.after(after_at, offset)), w.load(w.after(before_at, offset))
        row = w.load(w.after(row_at, offset))
        w.store(w.builder.fadd(row, w.builder.fsub(after, before)), w.after(row_at, offset))


@vector_code
def take_step(w: Writer, row_at: Any, step_at: Any, scale: Any, D: int) -> None:
    """Adds scale * step to a row and clears the step."""
    nothing = ir.Constant(VECTOR, ir.Undefined)
    first = w.builder.insert_element(nothing, scale, ir.Constant(INT32, 0))
    scales = w.shuffle(first, nothing, [0] * LANES)
    for offset in range(0, D * FLOAT_BYTES, LINE_BYTES):
        row, step = w.load(w.after(row_at, offset)), w.load(w.after(step_at, offset))
        w.store(w.plus_product(row, scales, step), w.after(row_at, offset))
        w.store(ZEROS, w.after(step_at, offset))


@vector_code
def square_sum(w: Writer, row_at: Any, sum_at: Any, D: int) -> None:
    """Puts the sum of a row's squares to `sum_at`."""

    def add_squares(offset: ir.Value, sums: list[ir.Value]) -> list[ir.Value]:
        values = w.load(w.after(row_at, offset))
        return [w.plus_product(sums[0], values, values)]

    sums = w.lane_sums(w.along_row(D, [ZEROS], add_squares))
    w.store(w.builder.extract_element(sums, ir.Constant(INT32, 0)), sum_at)


@vector_code
def prefetch_row(w: Writer, row_at: Any, D: int) -> None:
    """Asks for a row, which is to be changed soon, to be brought into the nearest cache."""
    kind = ir.FunctionType(ir.VoidType(), [BYTE_POINTER, INT32, INT32, INT32])
    prefetch = w.builder.module.declare_intrinsic("llvm.prefetch", [BYTE_POINTER], kind)
    to_write, keep_near, is_data = (ir.Constant(INT32, flag) for flag in (1, 3, 1))
    for offset in range(0, D * FLOAT_BYTES, LINE_BYTES):
        pointer = w.builder.inttoptr(w.after(row_at, offset), BYTE_POINTER)
        w.builder.call(prefetch, [pointer, to_write, keep_near, is_data])
