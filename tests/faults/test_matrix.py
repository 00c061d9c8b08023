"""The table itself: docs/faults.md is made from it, and every row has a test that runs."""

import ast
from pathlib import Path

import pytest
from conftest import Outcome

from faults.matrix import CODES, GROUPS, ROWS, Row, page
from faults.outcome import ROOT, expect
from w2v import errors

DOCS = ROOT / "docs" / "faults.md"
COUNTS = {"D": 27, "A": 8, "Y": 14, "T": 11, "V": 18, "Q": 7, "C": 18, "R": 10, "N": 8, "S": 6}


def test_the_page_is_written_from_the_table(request):
    if request.config.getoption("--write-golden"):
        DOCS.write_text(page())
    assert DOCS.read_text() == page(), "pytest tests/faults/test_matrix.py --write-golden"


def test_rows_are_numbered_without_a_gap():
    numbers = [f"{group}{number + 1}" for group in GROUPS for number in range(COUNTS[group])]
    assert list(ROWS) == numbers


def test_codes_are_those_of_the_errors():
    kinds = [errors.W2VError, *errors.W2VError.__subclasses__()]
    kinds.remove(errors.StoppedError)  # has that of its signal
    assert CODES.keys() > {kind.exit_code for kind in kinds}
    for row in ROWS.values():
        assert row.ends.keys() <= CODES.keys()
        assert all(row.ends[code] for code in row.ends if code not in (0, 141)), row.id


def marked_rows() -> set[str]:
    """The rows that a test function under tests/faults names."""
    found = set()
    for path in Path(__file__).parent.glob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                for mark in node.decorator_list:
                    if ast.unparse(mark).startswith("pytest.mark.fault("):
                        found.add(ast.literal_eval(mark.args[0]))
    return found


def test_every_row_has_a_test_or_says_why_not():
    assert marked_rows() == {row.id for row in ROWS.values() if not row.not_yet}


ROW = Row("D1", "", "", "", {0: ("note {n}",), 3: ("cannot reach {host}: refused ({n} tries)",)})
FAILED = Outcome(3, "", "said before\nw2v: error: cannot reach h: refused (3 tries)\nhint: h\n")


def test_an_outcome_that_fits():
    assert expect(ROW, FAILED, 3) == "cannot reach h: refused (3 tries)"
    expect(ROW, Outcome(0, "data", "note 7\n"), 0, warned=True)


@pytest.mark.parametrize(
    "outcome",
    [
        FAILED._replace(code=4),
        FAILED._replace(out="printed"),
        FAILED._replace(err=FAILED.err + "hint: another\n"),
        FAILED._replace(err=FAILED.err + "w2v: error: another\n"),
        FAILED._replace(err=FAILED.err + "Traceback (most recent call last):\n"),
        FAILED._replace(err="w2v: error: cannot reach h: refused (3 tries) now\n"),
        FAILED._replace(err="w2v: error: cannot reach : refused (3 tries)\n"),
        FAILED._replace(err=""),
    ],
)
def test_an_outcome_that_does_not_fit(outcome):
    with pytest.raises(AssertionError):
        expect(ROW, outcome, 3)


def test_a_code_that_the_row_has_not_or_a_warning_that_did_not_come():
    with pytest.raises(AssertionError):
        expect(ROW, FAILED._replace(code=5), 5)
    with pytest.raises(AssertionError):
        expect(ROW, Outcome(0, "", "something else\n"), 0, warned=True)
