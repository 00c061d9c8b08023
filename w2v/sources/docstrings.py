"""Docstrings of Python sources become sentences: the reading half of the `pydoc` corpus.

Paths of sources enter; lists of sentences leave, each a string of lower-case words. Sources are
parsed, never imported. Kept is prose: code samples, formulas, tables, signatures and markup go,
while names inside a sentence stay words (`torch.float32` gives "torch float32").

Imports the standard library alone and also runs as a program (paths as JSON on standard input,
sentences as JSON on standard output): so that `w2v.sources.pydoc` can use all cores without
forking a process that may hold threads, and without importing its main module again.
"""

import ast
import gc
import inspect
import json
import re
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

MIN_WORDS = 3  # of a sentence; shorter ones are headings and labels
MAX_SYMBOL_SHARE = 0.12  # of a sentence's characters; more is code or a formula
# Where statements hold further statements: expressions, nine tenths of a tree, hold no docstring.
BLOCKS = ("body", "orelse", "handlers", "finalbody", "cases")

WORD = re.compile(r"\w+(?:'\w+)?")
SYMBOLS = re.compile(r"[=()\[\]{}<>*/\\|#@$%^&+~]")
SENTENCE_END = re.compile(r"[.!?;:]+(?=[\s\"')]|$)")
ABBREVIATION = re.compile(r"\b(e\.g|i\.e|etc|cf|vs|w\.r\.t|resp|Fig|Eq|et al)\.", re.IGNORECASE)

# Lines that are no prose.
RULE_OR_TABLE = re.compile(r"[^\w\s]{2,}[^\w]*$|[|+]")
DOCTEST = re.compile(r">>>|\.\.\. |\.\.\.$|In \[\d+\]:|\$ ")
DIRECTIVE = re.compile(r"\.\. +(?:([\w:-]+)::(.*)|.*)$")
SIGNATURE = re.compile(r"[\w.]+\s?\(.*\)(\s*->.*)?[:\\]?$", re.DOTALL)
ITEM = re.compile(r"([-*+•]|\(?[0-9a-z][.)])\s+|:\w[^:]*:\s|@\w+|[\w*, ]+ ?(\([^)]*\))? ?: ")
PROSE_DIRECTIVES = re.compile(
    "note|warning|tip|hint|important|caution|danger|attention|admonition|seealso|topic|rubric|"
    "availability|impl-detail|versionadded|versionchanged|deprecated|deprecated-removed"
)

# Markup inside a line, and what stays of it.
INLINE = [
    (re.compile(r":math:`[^`]*`|\$[^$]+\$|https?://\S+|\{\w*\}|%\(\w+\)s"), " "),
    (re.compile(r"`([^`<]*)<[^`>]*>`_{0,2}"), r" \1 "),
    (re.compile(r":[\w:+-]+:`~?([^`]*)`"), r" \1 "),
    (re.compile(r"[`*]+"), " "),
]


def sentences(path: Path) -> list[str]:
    """The sentences of all docstrings in a source; none where it cannot be read or parsed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a stranger's escape sequences
            tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    return [sentence for doc in _docs(tree) for sentence in _sentences_of(doc)]


def _docs(tree: ast.AST) -> Iterator[str]:
    """Docstrings, and texts that become docstrings when the module is run."""
    if isinstance(tree, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        yield ast.get_docstring(tree, clean=False) or ""
    for block in BLOCKS:
        for statement in getattr(tree, block, ()):
            match statement:
                case ast.Expr(value=ast.Call() as call) | ast.Assign(value=ast.Call() as call):
                    yield from _call_docs(call)
                case ast.Assign(targets=[ast.Attribute(attr="__doc__") | ast.Name(id="__doc__")]):
                    yield from _strings(statement.value)
                case ast.Assign(targets=[ast.Name(id="topics")], value=ast.Dict()):
                    yield from _strings(statement.value)  # pydoc_data: the language reference
                case ast.stmt() | ast.ExceptHandler() | ast.match_case():
                    yield from _docs(statement)


def _call_docs(call: ast.Call) -> Iterator[str]:
    """The texts in add_docstr(function, "..."), add_newdoc(module, name, "...") and the like."""
    match call.func:
        case ast.Name(id=name) | ast.Attribute(attr=name) if "doc" in name:
            for argument in call.args:
                yield from _strings(argument)


def _strings(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def _sentences_of(doc: str) -> Iterator[str]:
    for paragraph in _paragraphs(inspect.cleandoc(doc).splitlines()):
        if SIGNATURE.match(paragraph):
            continue
        for pattern, left in INLINE:
            paragraph = pattern.sub(left, paragraph)
        for sentence in SENTENCE_END.split(ABBREVIATION.sub(r"\1", paragraph)):
            words = [
                word for word in WORD.findall(sentence.lower()) if len(word) > 1 or word in "ai"
            ]
            num_symbols = len(SYMBOLS.findall(sentence))
            if len(words) >= MIN_WORDS and num_symbols <= MAX_SYMBOL_SHARE * len(sentence):
                yield " ".join(words)


def _paragraphs(lines: list[str]) -> Iterator[str]:
    """Runs of lines that are prose: cut at blank lines, list items and smaller indents."""
    run: list[str] = []
    indent = 0  # of the last line
    skipped: int | None = None  # indent of what opened a block to skip; the block is deeper
    in_doctest = False
    for line in lines:
        text = line.strip()
        last_indent, indent = indent, len(line) - len(line.lstrip()) if text else indent
        if skipped is not None:
            if not text or indent > skipped:
                continue
            skipped = None
        in_doctest = bool(text) and (in_doctest or DOCTEST.match(text) is not None)
        directive = DIRECTIVE.match(text)
        is_prose = bool(text) and not (in_doctest or directive or RULE_OR_TABLE.match(text))
        if run and (not is_prose or indent < last_indent or ITEM.match(text)):
            yield " ".join(run)
            run = []
        if directive and PROSE_DIRECTIVES.fullmatch(directive[1] or ""):
            run = [directive[2]]
        elif directive:
            skipped = indent
        elif is_prose:
            run.append(text)
        if not directive and text.endswith("::"):
            skipped = indent
    if run:
        yield " ".join(run)


if __name__ == "__main__":
    gc.disable()  # trees hold no cycles; looking for some takes a third of the time
    json.dump([sentences(Path(name)) for name in json.load(sys.stdin)], sys.stdout)
