"""The table of faults: what can go wrong, what `w2v` must answer. Tests and docs/faults.md use it.

`ends` has the exit codes that a row may have, each with its messages: the line behind
`w2v: error: `, whole, where {..} stands for some text; of code 0 they are warnings and notes.
"""

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

GROUPS = {
    "D": "Download and cache",
    "A": "Archive",
    "Y": "Config",
    "T": "Corpus",
    "V": "Vector files",
    "Q": "Questions and evaluation files",
    "C": "Checkpoints, resuming, signals",
    "R": "Several processes",
    "N": "Numbers and memory",
    "S": "Supply chain and surface",
}
CODES = {
    0: "ok",
    1: "other failure",
    2: "usage or config",
    3: "download or integrity",
    4: "bad input data or file, unknown word",
    5: "filesystem, memory, lock",
    6: "diverged",
    7: "cannot go on from a checkpoint",
    8: "another of the processes that train together stopped",
    70: "a bug; the traceback is in a report file that is named",
    129: "ended by SIGHUP",
    130: "ended by SIGINT",
    141: "the reader of stdout went away",
    143: "ended by SIGTERM",
}

OK: Mapping[int, tuple[str, ...]] = {0: ()}


class Row(NamedTuple):
    """One fault."""

    id: str
    fault: str
    inject: str
    command: str
    ends: Mapping[int, tuple[str, ...]]
    limit_s: float = 20.0  # for one test; most take a tenth of a second
    note: str = ""  # what holds beside code and message
    not_yet: str = ""  # why no test runs

    def matches(self, code: int, message: str) -> bool:
        """Whether a message is one that the row allows with this exit code."""
        return any(_pattern(template).fullmatch(message) for template in self.ends[code])


def _pattern(template: str) -> re.Pattern[str]:
    texts = re.split(r"\{[^}]*\}", template)
    return re.compile(".+".join(map(re.escape, texts)))


BROKEN = "cannot download {url}: connection broken after {n} of {n} bytes (4 tries)"
SIZE = "cannot download {url}: size mismatch: got {n}, want {n} bytes"
DIGEST = "cannot download {url}: SHA-256 mismatch: got {digest}, want {digest}"
NO_HTTP = "cannot reach {host}: not an HTTP answer (3 tries)"
NO_ADDRESS = "not an http or https address: {url}"
REFUSED = "cannot reach {host}: connection refused (3 tries)"
DAMAGED = "cached file damaged: {path}; cannot reach {host}: connection refused (3 tries)"
NOT_ZIP = "not a zip archive, or damaged: {path}"
HEADER = "{path}: line 1: expected 'COUNT DIM'"
LOST = "rank {n} stopped"

_ROWS = (
    # --- D ---------------------------------------------------------------------------------------
    Row(
        "D1",
        "nobody listens; the name is not known",
        "a closed port; a resolver that refuses",
        "corpus fetch",
        {3: (REFUSED, "cannot reach {host}: host name not found (3 tries)")},
        note="the hint says where to put the file by hand, and names quickstart.yaml",
    ),
    Row("D2", "offline with a good cache", "server stopped", "corpus fetch, train", OK),
    Row(
        "D3",
        "404, 403, 410",
        "status",
        "corpus fetch",
        {3: ("cannot download {url}: server said {status}",)},
        note="one request; the body is not kept",
    ),
    Row(
        "D4",
        "500, 502, 503, 429 with or without Retry-After, then a good answer",
        "scripted answers",
        "corpus fetch",
        OK,
        note="as many requests as scripted; a wait is capped, whatever the server asks",
    ),
    Row(
        "D5",
        "500 for ever",
        "status",
        "corpus fetch",
        {3: ("cannot download {url}: server error 500 (4 tries)",)},
    ),
    Row(
        "D6",
        "connection closed in the middle of an announced body",
        "close",
        "corpus fetch",
        {3: (BROKEN,)},
        note="four requests",
    ),
    Row(
        "D7",
        "connection closed in the middle of a body of unknown length",
        "close",
        "corpus fetch",
        {3: (SIZE + " (4 tries)", "not what was published: not a zip archive, or damaged: {url}")},
        note="also where corpus.url names another address, whose archive has no published size",
    ),
    Row(
        "D8",
        "connection reset in the body; chunks cut short; a chunk size that is none",
        "SO_LINGER 0; raw bytes",
        "corpus fetch",
        {3: (BROKEN, "cannot download {url}: connection broken after {n} bytes (4 tries)")},
    ),
    Row(
        "D9",
        "silence before the headers, or in the body",
        "wait",
        "corpus fetch",
        {
            3: (
                "cannot reach {host}: timed out after {n} s (3 tries)",
                "cannot download {url}: timed out after {n} s with {n} of {n} bytes (3 tries)",
            )
        },
    ),
    Row(
        "D10",
        "a trickle that no read timeout notices",
        "a byte now and then",
        "corpus fetch",
        {3: ("cannot download {url}: timed out after {n} s",)},
        limit_s=10,
        note="ends at the overall deadline",
    ),
    Row(
        "D11",
        "right length, wrong bytes",
        "one bit flipped",
        "corpus fetch",
        {
            3: (
                DIGEST,
                "not what was published: SHA-256 mismatch of {name} in {url}: got {digest}, "
                "want {digest}",
            )
        },
        note="also where corpus.url names another address: the texts inside decide",
    ),
    Row(
        "D12",
        "a body without end; a body longer than published",
        "stream",
        "corpus fetch",
        {3: ("cannot download {url}: size mismatch: got more than {n} bytes", SIZE)},
        note="the disk never holds more than the published size and 1 MiB",
    ),
    Row(
        "D13",
        "a gzip bomb as Content-Encoding",
        "gzip header",
        "corpus fetch",
        {3: ("cannot download {url}: sent as 'gzip', asked for plain bytes",)},
        note="identity was asked for; memory grows by less than 50 MB",
    ),
    Row(
        "D14",
        "redirects: in a circle, to file: or ftp:, from https to http",
        "Location",
        "corpus fetch",
        {
            3: (
                "cannot download {url}: more than 5 redirects, last to {url}",
                NO_ADDRESS,
                "{url} redirects to {url}, which is not https",
            )
        },
    ),
    Row(
        "D15",
        "garbage; a header of 70 KB; a negative length; 204; a 206 nobody asked for",
        "raw bytes",
        "corpus fetch",
        {
            3: (
                NO_HTTP,
                "cannot download {url}: not an HTTP answer: Content-Length {value}",
                "cannot download {url}: server said {status}",
            )
        },
    ),
    Row(
        "D16",
        "hostile file names in Content-Disposition and in the address",
        "header",
        "corpus fetch",
        OK,
        note="nothing outside data/; the name is ours",
    ),
    Row(
        "D17",
        "a dead proxy; NO_PROXY; a password in an address",
        "environment",
        "corpus fetch",
        {
            0: (),
            3: ("cannot reach the proxy {url}: connection refused (3 tries)", REFUSED),
        },
        note="no password is printed",
    ),
    Row(
        "D18",
        "a .netrc with an entry for the host",
        "a home of its own",
        "corpus fetch",
        OK,
        note="no Authorization header arrives",
    ),
    Row(
        "D19",
        "the first address sends wrong bytes, the second the right ones",
        "two servers",
        "corpus fetch",
        {0: (DIGEST + "; trying the next address",)},
    ),
    Row(
        "D20",
        "kill -9 in the middle of a download",
        "at random moments: 10 times, slow: 200 times",
        "corpus fetch",
        OK,
        note="nothing cut short is ever taken; the next run is good and leaves no temporary file",
    ),
    Row("D21", "eight first runs share a data folder", "8 processes", "corpus fetch", OK, 60.0),
    Row(
        "D22",
        "D21 where locks are granted to everybody",
        "flock does nothing",
        "corpus fetch",
        OK,
        60.0,
    ),
    Row(
        "D23",
        "a cached archive with a flipped bit, or cut short",
        "edit",
        "corpus fetch",
        {
            0: ("cached file damaged, downloading the archive again: {path}",),
            3: (DAMAGED,),
        },
        note="online 0, offline 3; also with corpus.url",
    ),
    Row(
        "D24",
        "an unpacked text is cut short, or edited",
        "edit",
        "corpus fetch",
        {0: ("not the text of the archive, unpacked again: {path}",)},
    ),
    Row(
        "D25",
        "data/ is read-only, with and without a cache",
        "chmod 555, as a user who is not root",
        "corpus fetch",
        {0: (), 5: ("cannot write {path}: Permission denied",)},
    ),
    Row(
        "D26",
        "data is a file, a dangling link, a full disk",
        "a tmpfs of one page",
        "corpus fetch",
        {
            5: (
                "cannot write {path}: Not a directory",
                "cannot write {path}: File exists",
                "cannot write {path}: No space left on device ({n} bytes free)",
            )
        },
    ),
    Row(
        "D27",
        "a certificate that is self-signed, expired, or of another host",
        "local TLS",
        "corpus fetch",
        {3: ("cannot reach {host}: TLS certificate not valid",)},
        note="one attempt; no verify=False anywhere (S3)",
    ),
    # --- A ---------------------------------------------------------------------------------------
    Row(
        "A1",
        "a page, nothing, an archive cut short at any offset",
        "bytes",
        "corpus fetch",
        {4: (NOT_ZIP,)},
    ),
    Row(
        "A2",
        "one bit flipped in any byte",
        "loop",
        "corpus fetch",
        {
            0: (),
            4: (
                NOT_ZIP,
                "{name} not in archive {path} (has: {names})",
                "{name} is encrypted in {path}",
                "{name} is packed in {path} by a method other than deflate",
            ),
        },
        limit_s=60,
        note="0 only with the exact texts",
    ),
    Row(
        "A3",
        "members called ../x, /x, with backslash, drive, NUL, 300 characters; a link; a device",
        "ZipInfo",
        "corpus fetch",
        {
            0: (),
            4: (
                "{name} not in archive {path} (has: {names})",
                "{name} is not a regular file in {path}",
            ),
        },
        note="nothing but the three texts is ever written",
    ),
    Row(
        "A4",
        "a member twice; a file and a folder of one name; names that differ in case",
        "ZipInfo",
        "corpus fetch",
        {4: ("{name} is 2 times in {path}, expected once",)},
    ),
    Row(
        "A5",
        "a bomb of 1,000 to 1, with forged sizes, with overlapping members, nested",
        "generator",
        "corpus fetch",
        {0: (), 4: ("{name} expands past {n} bytes in {path}", NOT_ZIP)},
        limit_s=5,
        note="no more than the published size and 64 KiB are unpacked; a nested archive stays shut",
    ),
    Row(
        "A6",
        "an encrypted member; an unknown method; sizes of zip64 that lie",
        "patched headers",
        "corpus fetch",
        {
            4: (
                "{name} is encrypted in {path}",
                "{name} is packed in {path} by a method other than deflate",
                NOT_ZIP,
            )
        },
    ),
    Row(
        "A7",
        "a member is missing, or has another name",
        "ZipInfo",
        "corpus fetch",
        {4: ("{name} not in archive {path} (has: {names})",)},
    ),
    Row(
        "A8",
        "kill -9 while unpacking",
        "at random moments: 10 times, slow: 100 times",
        "corpus fetch",
        OK,
        note="the next run is good and leaves no temporary file",
    ),
    # --- Y ---------------------------------------------------------------------------------------
    Row("Y1", "1e-3, 1E-3, 1e+0 as a number", "file, --set", "config show", OK),
    Row(
        "Y2",
        "no, off, on, y, null, ~, nan, true where text is meant",
        "file, --set",
        "config show",
        {
            0: (),
            2: ("{place}: output.run: expected text, or null; found {value}; quote it: {text}",),
        },
        note="kept as text but for null, ~ and true; a corpus may be called no",
    ),
    Row(
        "Y3",
        "010, 0x10, 1_000, 12:30, a date as a number",
        "file, --set",
        "train",
        {
            2: (
                "{place}: train.epochs: expected a whole number from 1 to 10000; found {value}; "
                "write a plain decimal",
            )
        },
    ),
    Row(
        "Y4",
        "a key twice",
        "file",
        "train",
        {2: ("{place}: duplicate key '{key}'; first at line {n}",)},
    ),
    Row(
        "Y5",
        "an unknown key or section",
        "file, --set",
        "train",
        {
            2: (
                "{place}: {key}: unknown setting; did you mean '{key}'?",
                "{place}: {key}: unknown section; did you mean '{key}'?",
            )
        },
    ),
    Row(
        "Y6",
        "a wrong type: a boolean for a number, a list, a quoted number",
        "file, --set",
        "train",
        {2: ("{place}: {key}: expected {type}; found {value}",)},
    ),
    Row(
        "Y7",
        "NaN, infinity, negative, zero, 1e308, 10**30",
        "file, --set",
        "train",
        {2: ("{place}: {key}: expected {range}; found {value}",)},
    ),
    Row(
        "Y8",
        "alias bomb, merge bomb, an alias of itself",
        "file",
        "train",
        {2: ("{place}: anchor &{name}: remove it",)},
        limit_s=2,
        note="0.2 s",
    ),
    Row(
        "Y9",
        "nested 1,000 to 100,000 deep; an integer of 5,000 digits",
        "file, --set",
        "train",
        {
            2: (
                "{place}: nested more than 8 deep",
                "{path}: is over 65536 bytes, too big for a config",
                "{place}: the value is over 65536 bytes",
                "{place}: a number of more than 100 digits",
            )
        },
    ),
    Row(
        "Y10",
        "!!python/object/apply and every other tag",
        "a payload that makes a folder",
        "train",
        {2: ("{place}: tag {tag}: remove it",)},
        note="the folder is not made",
    ),
    Row(
        "Y11",
        "bad UTF-8, NUL, UTF-16, byte order mark, CRLF, tabs",
        "bytes",
        "config check",
        {
            0: (),
            2: (
                "{place}: is not valid UTF-8; save the file as UTF-8",
                "{place}: the character U+0000 has no place in YAML",
                "{place}: is UTF-16; save it as UTF-8",
                "{place}: a tab cannot indent YAML; use spaces",
                "{option}: the name of the setting is not valid UTF-8",
            ),
        },
        note="byte order mark and CRLF are fine",
    ),
    Row(
        "Y12",
        "empty, a list, a scalar, two documents",
        "file",
        "train",
        {
            2: (
                "{place}: expected a mapping of sections; found {what}",
                "{place}: a second document; keep one",
            )
        },
    ),
    Row(
        "Y13",
        "a file that is missing, a folder, a pipe, unreadable, 1 GB",
        "path",
        "train",
        {
            2: (
                "no config file '{path}'",
                "{path}: expected a YAML file; found a folder",
                "{path}: expected a YAML file; found a pipe or a device",
                "{path}: cannot be read: Permission denied",
                "{path}: is over 65536 bytes, too big for a config",
            )
        },
        note="no more than 64 KiB are read",
    ),
    Row(
        "Y14",
        "an unknown flag or command; -k 0, -1, x, 10**9",
        "argv",
        "similar, train",
        {
            0: ("-k {n} is more than there is: {n} other words",),
            2: (
                "No such option: {option}",
                "No such command '{name}'.",
                "No such command '{name}'. Did you mean '{name}'?",
                "Invalid value for '-k': {what}",
            ),
        },
    ),
    # --- T ---------------------------------------------------------------------------------------
    Row("T1", "an empty text; only blanks", "file", "train", {4: ("no words in {path}",)}),
    Row(
        "T2",
        "every word rarer than min_count",
        "file",
        "train",
        {
            4: (
                "vocab.min_count={n} keeps 0 of {n} words; the commonest, {word}, occurs {n} "
                "times: lower it",
            )
        },
    ),
    Row(
        "T3",
        "one word; two words; more negatives than words; a window wider than the text",
        "file, --set",
        "train",
        OK,
        limit_s=10,
        note="trains, also where every noise word is a context",
    ),
    Row(
        "T4",
        "sentences of one word; subsampling that drops everything",
        "file, --set",
        "train",
        {4: ("no training pairs: {why}",)},
    ),
    Row(
        "T5",
        "text that is not UTF-8",
        "a byte at any place",
        "train, similar -, embed",
        {4: ("{path}: line {n}, byte {n}: not UTF-8", "stdin, line {n}: byte {n} is not UTF-8")},
        note="the hint says how to convert it",
    ),
    Row(
        "T6",
        "NUL, byte order mark, CRLF, CR, NEL, U+2028, no-break space, thin space",
        "variants of one text",
        "train, similar -, embed",
        OK,
        note="white space of any kind parts words: the vocabulary is that of the clean text",
    ),
    Row(
        "T7",
        "a text of one line",
        "20 MB; slow: 200 MB with 3 GB of address space",
        "train --dry-run, embed",
        OK,
        limit_s=60,
        note="never cut: as many words as `wc -w` counts",
    ),
    Row(
        "T8",
        "a token of 10 MB; tokens with escape sequences and bidirectional controls",
        "file",
        "train, similar, embed",
        OK,
        note="kept; printed with such characters spelled out",
    ),
    Row(
        "T9",
        "10 million distinct tokens in little memory",
        "generator, limited address space",
        "train",
        {
            **OK,
            5: (
                "out of memory: a vocabulary of {n} words or more needs {n} GB more; "
                "{n} GB are free",
            ),
        },
        note="counting spills; the vocabulary must fit, and is asked in time. The hint is "
        "vocab.max_size and vocab.min_count, with which any number is counted",
    ),
    Row(
        "T10",
        "a text that grows, shrinks or goes while it is read",
        "a writer meanwhile",
        "train",
        {
            4: (
                "{path}: changed while it was read; start again",
                "cannot read {path}: No such file or directory",
            )
        },
    ),
    Row(
        "T11",
        "a folder without text, a pipe, a file without permission, a missing file",
        "path",
        "train, embed",
        {
            4: (
                "corpus.path: no text in {path}",
                "corpus.path: {path} is neither a file nor a folder",
                "corpus.path: no such file or folder: {path}",
                "corpus.path: no file matches {path}",
                "cannot read {path}: Is a directory",
                "cannot read {path}: No such file or directory",
                "{path}: damaged: {why}",
            ),
            5: ("cannot read {path}: Permission denied",),
        },
    ),
    # --- V ---------------------------------------------------------------------------------------
    Row(
        "V1",
        "nothing, a header alone, one field, garbage; text read as binary and back",
        "bytes",
        "similar, export, embed",
        {
            0: (),
            4: (
                HEADER,
                "{path}: line 1: the header says {n} words with {n} dimensions, at least {n} "
                "bytes; the file has room for {n}",
            ),
        },
        note="what a file holds decides, not its name: text called .bin is read as text",
    ),
    Row(
        "V2",
        "COUNT or DIM huge, negative, 0, 1_0, in full-width digits",
        "bytes",
        "similar",
        {
            4: (
                "{path}: line 1: the header says {n} words with {n} dimensions, at least {n} "
                "bytes; the file has room for {n}",
                "{path}: line 1: a file of {n} words with {n} dimensions",
                "{path}: line {n}: {n} numbers, expected {n}",
                "{path}: line {n}: expected a number, found {what}",
                HEADER,
            )
        },
        limit_s=2,
        note="0.1 s; nothing is allocated before the size is compared with the file's",
    ),
    Row(
        "V3",
        "more rows, or fewer, than the header says",
        "bytes",
        "similar",
        {
            4: (
                "{path}: the header says {n} words, found {n}",
                "{path}: byte {n}: more follows the last of {n} words",
                "{path}: byte {n} (word {n} of {n}): no space ends the word",
                "{path}: line 1: the header says {n} words with {n} dimensions, at least {n} "
                "bytes; the file has room for {n}",
            )
        },
    ),
    Row(
        "V4",
        "a row too short, too long, with something else than a number, NaN, infinity",
        "bytes",
        "similar",
        {
            4: (
                "{path}: line {n}: {n} numbers, expected {n}",
                "{path}: line {n}: expected a number, found {what}",
                "{path}: line {n}: a number is not finite in float32",
                "{path}: the vector of {word} (word {n}) is not finite",
            )
        },
    ),
    Row(
        "V5",
        "a word twice, an empty word, a word that is not UTF-8",
        "bytes",
        "similar",
        {
            4: (
                "{path}: {word} comes twice: words {n} and {n}",
                "{path}: line {n}: the word is empty",
                "{path}: line {n}: the word is not UTF-8: {bytes}",
                "{path}: byte {n} (word {n} of {n}): the word is empty",
                "{path}: byte {n} (word {n} of {n}): the word is not UTF-8: {bytes}",
            )
        },
    ),
    Row(
        "V6",
        "text cut short at any byte",
        "truncation",
        "similar",
        {
            4: (
                "{path}: line {n}: the last line has no line end",
                "{path}: the header says {n} words, found {n}",
                "{path}: line 1: the header says {n} words with {n} dimensions, at least {n} "
                "bytes; the file has room for {n}",
                "{path}: the gzip stream is damaged or cut short: {why}",
                HEADER,
            )
        },
        limit_s=30,
        note="a cut within a number is seen by the missing line end",
    ),
    Row(
        "V7",
        "binary cut short, without a space, with a word of 1 MB, with trailing bytes",
        "bytes",
        "similar",
        {
            4: (
                "{path}: byte {n} (word {n} of {n}): the file ends within the vector",
                "{path}: byte {n} (word {n} of {n}): no space ends the word",
                "{path}: byte {n} (word {n} of {n}): no line end after the vector, as the first "
                "word has",
                "{path}: byte {n}: more follows the last of {n} words",
                "{path}: line 1: the header says {n} words with {n} dimensions, at least {n} "
                "bytes; the file has room for {n}",
            )
        },
        limit_s=5,
        note="1 s for 8 MB",
    ),
    Row(
        "V8",
        "a pickle, an .npy of objects, .pt, gensim's .kv, torch's zip",
        "a payload that makes a folder",
        "similar",
        {
            4: (
                "{path} is {what}: that is not read",
                "{path}: expected a .npy of float32 in two dimensions",
                "{path}: not a whole safetensors file: {why}",
                HEADER,
            )
        },
        note="the folder is not made",
    ),
    Row(
        "V9",
        "any byte of a run's words or tables flipped",
        "loop",
        "similar, info",
        {4: ("checksum mismatch: {path} has SHA-256 {digest}, run.json says {digest}",)},
        limit_s=60,
        note="every byte of vocab.tsv and vectors.safetensors; of exported files only .safetensors "
        "carries such digests",
    ),
    Row(
        "V10",
        "an unknown word, also under --minus: empty, <unk>, other case, other Unicode form",
        "argv, stdin",
        "similar",
        {
            4: (
                "{word} is not in the vocabulary",
                "stdin, line {n}: {word} is not in the vocabulary",
            )
        },
        note="the hint names close spellings",
    ),
    Row(
        "V11",
        "a zero vector, a word minus itself, equal vectors, one word, k above the vocabulary",
        "file",
        "similar",
        OK,
        note="finite cosines, always in the same order",
    ),
    Row(
        "V12",
        "words with spaces, no-break spaces, line ends, #, exported and read again",
        "hypothesis",
        "export",
        {
            0: (),
            4: ("format {name} cannot hold the word {word}: it has white space or a NUL",),
        },
        limit_s=60,
        note="the same vectors come back, or nothing is written",
    ),
    Row(
        "V13",
        "a reader that goes away; a closed or full standard output",
        "pipe, /dev/full",
        "similar, eval, export, embed",
        {0: (), 141: (), 5: ("No space left on device: stdout",)},
    ),
    Row(
        "V14",
        "LANG=C, PYTHONIOENCODING=ascii, a word with é",
        "environment",
        "similar",
        OK,
        note="printed escaped",
    ),
    Row(
        "V15",
        "OUT is a folder, read-only, a link, a device, a pipe, the source itself, a file; "
        "for a folder a file, somebody's folder",
        "path",
        "export, embed, plot",
        {
            0: (),
            5: (
                "{path} is a folder",
                "{path} is a file",
                "{path} holds {name}, no part of a {name}",
                "{path} holds a {name} of others",
                "{path} is no regular file",
                "{path} exists already",
                "{path} is a run's own file",
                "cannot write {path}: Permission denied",
                "cannot write {path}: Not a directory",
                "cannot write {path}: {folder} is read-only",
            ),
        },
        note="a link is followed; the mode is that of the umask, or of the file replaced",
    ),
    Row(
        "V16",
        "kill -9 in the middle of an export; a disk that is full at the end",
        "at random moments: 10 times, slow: 200 times; a small tmpfs",
        "export, embed",
        {0: (), 5: ("cannot write {path}: No space left on device ({n} bytes free)",)},
        note="the old file or folder, or the complete new one; what a kill leaves of a temporary "
        "one goes with the next export there",
    ),
    Row("V17", "any float32, subnormal ones too, through text", "hypothesis", "export", OK, 60.0),
    Row(
        "V18",
        "model.init_from: nothing there, damaged, another dimension, no word in common, all frozen",
        "--set",
        "train",
        {
            0: ("init_from {path} is gone; the checkpoint has what came from it",),
            2: (
                "model.dim={n}, but the vectors of model.init_from={path} have {n} dimensions",
                "model.freeze=pretrained leaves no row to train: {path} has all {n} words, "
                "as centers and as contexts",
            ),
            4: (
                "model.init_from: no such file or folder: {path}",
                "{path} has no word in common with the vocabulary",
                "{path} is no run folder: run.json: No such file or directory",
                "{path}: line {n}: {n} numbers, expected {n}",
                HEADER,
            ),
            7: ("{path} is of another run: init_from (there {digest}, here {digest})",),
        },
        note="what the file's first bytes tell is told before the corpus is opened",
    ),
    # --- Q ---------------------------------------------------------------------------------------
    Row(
        "Q1",
        "a missing column, another number of words, a score that is no number, NaN, infinity",
        "bytes",
        "eval",
        {
            4: (
                "{path}, line {n}: expected word, word and score between tabs, found {what}",
                "{path}, line {n}: expected a number in the third column, found {what}",
                "{path}, line {n}: expected a number in column {n}, found {what}",
                "{path}, line {n}: expected four words, found {what}",
            )
        },
        note="told before vectors are read",
    ),
    Row(
        "Q2",
        "nothing, only comments, bytes that are not UTF-8, an endless line, vectors for pairs",
        "bytes, /dev/zero",
        "eval",
        {
            4: (
                "{path} holds neither pairs of words with a score nor analogies",
                "{path}, line {n}: byte {n} is not UTF-8 text",
                "{path}, line {n}: longer than {n} bytes",
            )
        },
    ),
    Row(
        "Q3",
        "a folder, a missing file, one without permission",
        "path",
        "eval",
        {
            4: (
                "cannot read {path}: Is a directory",
                "cannot read {path}: No such file or directory",
            ),
            5: ("cannot read {path}: Permission denied",),
        },
    ),
    Row(
        "Q4",
        "pairs or analogies without a known word",
        "words",
        "eval",
        {4: ("{path}: of {n} items none has all its words in the vocabulary",)},
        note="told before anything is scored",
    ),
    Row(
        "Q5",
        "byte order mark, CRLF, white space around columns, capitals, a header, further columns",
        "variants of one file",
        "eval",
        OK,
        note="the score of the clean file",
    ),
    Row(
        "Q6",
        "no word and no terminal; no file",
        "argv",
        "similar, eval",
        {
            2: (
                "no word to look for, and no terminal to ask on",
                "no file to judge the vectors by",
            )
        },
    ),
    Row(
        "Q7",
        "--minus without a word behind it, in a line",
        "stdin",
        "similar -",
        {4: ("stdin, line {n}: --minus wants a word behind it",)},
        note="at the prompt a mistake is told in one line, and the next one is asked for",
    ),
    # --- C ---------------------------------------------------------------------------------------
    Row(
        "C1",
        "killed at a random moment",
        "SIGKILL: 1,000 forks that save, 100 whole trainings",
        "train, train --resume",
        {0: (), 5: ("{folder} holds an unfinished run, saved as {name}",)},
        limit_s=30,
        note="the newest checkpoint that was done is there and whole; the run goes on from it; "
        "`train` alone does not start over, the hint names --resume and --force",
    ),
    Row(
        "C2",
        "killed before each operation on files that Python asks the system for",
        "a fork that kills itself at the n-th os.open, mkdir, fsync, chmod, replace or unlink",
        "train, train --resume",
        OK,
        note="the checkpoint before, or the new one; kills within a write are C1's; a finished run "
        "that was half replaced is told by its digests, and the hint is --resume, which ends it",
    ),
    Row(
        "C3",
        "power fails: what is not fsynced may be lost, whole or in part",
        "recorded operations, replayed",
        "train, train --resume",
        OK,
        note="after every operation, the checkpoint before, or the new one; new folders too",
    ),
    Row(
        "C4",
        "no space, no quota, a failing disk while a checkpoint is written",
        "ENOSPC, EDQUOT, EFBIG, EIO, also at the close of what was written; a small disk",
        "train",
        {5: ("cannot write {path}: {reason}",)},
        note="training ends; the checkpoints before stay whole, no temporary file is left",
    ),
    Row(
        "C5",
        "the newest checkpoint is damaged",
        "every bit of every byte; every length",
        "train --resume",
        {
            0: (
                "{path} is damaged: {reason}; going on from the one before, {name}",
                "cannot read {path}: {reason}; going on from the one before, {name}",
            )
        },
    ),
    Row(
        "C6",
        "all checkpoints are damaged",
        "a flipped bit, truncation",
        "train --resume",
        {7: ("no checkpoint in {folder} is whole: {path} is damaged: {reason}",)},
        note="it never starts over by itself",
    ),
    Row(
        "C7",
        "killed between saving and removing older ones, one checkpoint kept",
        "a fork that kills itself",
        "train",
        OK,
        note="one that is whole remains: older ones go once the new one was read back",
    ),
    Row(
        "C8",
        "stale temporary files, foreign files, reversed times, a folder called like a checkpoint",
        "touch",
        "train --resume",
        OK,
        note="the step and the digests decide; foreign files stay",
    ),
    Row(
        "C9",
        "another version, vocabulary, text, kernel or setting; fewer epochs",
        "edit, --set",
        "train --resume",
        {
            7: (
                "{path} has schema {n}, expected {n}",
                "{path} is of another run: {differences}",
                "{folder} holds a finished run with other settings: {differences}",
            )
        },
        note="all that differs is listed; output.*, train.threads, more epochs are free to differ",
    ),
    Row(
        "C10",
        "a pickle, or other tensors, where a checkpoint should be, digests right",
        "a canary",
        "train --resume",
        {7: ("{path} is damaged: {reason}", "{path} holds other tensors: {names}")},
        note="nothing of it runs",
    ),
    Row(
        "C11",
        "stopped at any step, and gone on with",
        "a signal at every step",
        "train --resume",
        OK,
        note="the same bytes of tables, optimizer, losses and vectors as without a stop: bmm on a "
        "CPU, hogwild with one thread",
    ),
    Row(
        "C12",
        "nothing to go on with: the run is finished, or there is no checkpoint",
        "--resume; another text, kernel or device; a flipped bit, a missing file",
        "train --resume",
        {
            0: ("the run in {folder} is already complete",),
            4: (
                "checksum mismatch: {path} has SHA-256 {digest}, run.json says {digest}",
                "cannot read {path}: {reason}",
            ),
            7: (
                "no checkpoint in {folder}",
                "{folder} holds a finished run with other settings: {differences}",
            ),
        },
        note="a finished run is complete if its files are whole, its settings and its text these",
    ),
    Row(
        "C13",
        "a signal at any moment: import, download, corpus, training, saving",
        "SIGINT, SIGTERM, SIGHUP at random moments",
        "train",
        {
            0: (),
            130: ("ended by SIGINT", "ended by SIGINT at step {n}, which is saved in {folder}"),
            143: ("ended by SIGTERM", "ended by SIGTERM at step {n}, which is saved in {folder}"),
            129: ("ended by SIGHUP", "ended by SIGHUP at step {n}, which is saved in {folder}"),
        },
        limit_s=60,
        note="within 5 s, as long as the tables are small: a signal in training ends the step and "
        "saves, and 5 GB take the time that the disk needs; the renames of a finished run are "
        "ended; wherever a checkpoint is there, the hint is the command that goes on",
    ),
    Row(
        "C14",
        "a second signal while the first one's checkpoint is saved",
        "a save that takes long",
        "train",
        {130: ("ended by SIGINT",)},
        note="at once; the checkpoint before is whole, and the hint is the command that goes on",
    ),
    Row("C15", "stopped and continued by the shell", "SIGSTOP, SIGCONT", "train", OK),
    Row(
        "C16",
        "two trainers, one run folder",
        "a process that trains there",
        "train, train --resume, train --force",
        {5: ("{folder} is in use by pid {n}",)},
        note="free again once the first one ended, also by SIGKILL",
    ),
    Row(
        "C17",
        "the run folder is read-only; it is deleted, moved or replaced meanwhile",
        "chmod, rm, mv",
        "train",
        {
            5: (
                "cannot write {path}: {reason}",
                "cannot write {path}: {folder} is read-only",
                "{folder} was moved or replaced while training",
            )
        },
        note="a read-only one is found before the text is touched; training ends at the next "
        "report, within a second or so, and writes nothing where another may train",
    ),
    Row(
        "C18",
        "the clock is set back; the host is renamed; a process id is used again",
        "lock and half-built text that name a living process; a patched clock; times to come",
        "train --resume",
        OK,
    ),
    # --- R ---------------------------------------------------------------------------------------
    Row(
        "R1",
        "a rank is killed",
        "kill -9 of the first and of another, under torchrun",
        "train, train --resume",
        {0: (), 8: (LOST,)},
        limit_s=60,
        note="all are gone within 10 s, torchrun with its 1; the last checkpoint is whole, and is "
        "gone on from",
    ),
    Row(
        "R2",
        "a rank fails, or leaves early with 0",
        "a hook that raises, or calls os._exit(0)",
        "train",
        {8: (LOST, LOST + ": {why}"), 70: ("internal error: {what}",)},
        limit_s=60,
        note="a rank that fails says why; of the others one says who stopped; nothing of gloo",
    ),
    Row(
        "R3",
        "a rank is frozen",
        "SIGSTOP",
        "train",
        {8: (LOST,)},
        limit_s=60,
        note="the others leave within distributed.timeout_s and 35 s, it itself once it goes on",
    ),
    Row(
        "R4",
        "SIGTERM, SIGINT to torchrun, or to one rank",
        "kill",
        "train, train --resume",
        {
            0: (),
            130: ("ended by SIGINT at step {n}, which is saved in {folder}",),
            143: ("ended by SIGTERM at step {n}, which is saved in {folder}",),
        },
        limit_s=60,
        note="all end at the next merge of all rows, with one checkpoint, within 30 s; what goes "
        "on from it gives the bytes of a run that never stopped; torchrun answers 1",
    ),
    Row(
        "R5",
        "a download fails",
        "wrong bytes (D11)",
        "train",
        {3: (DIGEST,)},
        limit_s=60,
        note="every rank leaves with the code within 10 s, the first alone says why",
    ),
    Row(
        "R6",
        "more ranks than sentences; shares of very different length",
        "tiny texts",
        "train",
        {0: (), 4: ("{n} processes for fewer sentences with words",)},
        limit_s=60,
        note="nobody waits for ever",
    ),
    Row(
        "R7",
        "another number of ranks goes on",
        "2, then 1 or 3",
        "train --resume",
        {
            0: (),
            7: ("{path} was made in the midst of an epoch by {n}; here are {n}",),
        },
        limit_s=60,
        note="at the end of an epoch any number may",
    ),
    Row(
        "R8",
        "RANK without the rest; a rank that cannot be; no numbers; a port in use",
        "environment",
        "train",
        {
            2: (
                "{name} is set, {name} is not",
                "{name}={value}: expected a number from {n} to {n}",
                "cannot listen at {address} (MASTER_ADDR, MASTER_PORT): the port is in use",
                "what listens at {address} (MASTER_ADDR, MASTER_PORT) is not the first process",
            )
        },
        limit_s=60,
        note="told before torch is imported, but for the port; other commands look at none of it",
    ),
    Row(
        "R9",
        "a rank is killed, and torchrun may start all anew",
        "kill -9, --max-restarts 1",
        "train",
        OK,
        limit_s=60,
        note="the bytes of a run that nothing happened to: bmm on a CPU, hogwild with one thread",
    ),
    Row(
        "R10",
        "all ranks write one path",
        "an audit hook",
        "train",
        OK,
        limit_s=60,
        note="the run folder is the first rank's, the prepared text that of the first of each host",
    ),
    # --- N ---------------------------------------------------------------------------------------
    Row(
        "N1",
        "a learning rate of 1e20, which no file may ask for (Y7)",
        "a config made in Python",
        "train",
        {6: ("training diverged: {what} became {value} ({where})",)},
        note="no vectors; all saved tensors are finite; the hint says to lower train.lr",
    ),
    Row(
        "N2",
        "a row becomes NaN or infinite while the loss is finite",
        "poke",
        "train",
        {6: ("training diverged: the sum of the tables became {value} ({where})",)},
        note="noticed at the next report; the checkpoint before it is kept and finite",
    ),
    Row(
        "N3",
        "a loss that stays far above its start",
        "learning rate",
        "train",
        {
            0: ("the loss is {n}, it began with {n}: lower train.lr?",),
            6: ("training diverged: {why}",),
        },
        note="three times the first loss, for 1,000 steps",
    ),
    Row(
        "N4",
        "less memory than the tables need",
        "limited address space",
        "train",
        {
            5: (
                "out of memory on {device}: the tables of {n} words take {n} GB, {optimizer} {n} "
                "GB, batches more, a checkpoint as much again while it is written",
            )
        },
        note="on a GPU the same message; that half needs one",
    ),
    Row(
        "N5",
        "a device that is not here, or has a number",
        "--device",
        "train",
        {
            2: (
                "train.device={name}: torch {version}, finds none here",
                "--device {name}: train.device: expected one of auto, cpu, cuda, mps; found "
                "{value}",
                "--device {name}: train.device: expected one of auto, cpu, cuda, mps; found "
                "{value}; did you mean '{name}'?",
            )
        },
    ),
    Row(
        "N6",
        "the same seed twice; another hash seed; one thread against two",
        "environment, --set",
        "train",
        OK,
        limit_s=60,
        note="the same bytes; with bmm and other numbers of threads the same to 1e-4",
    ),
    Row("N7", "a loss past 2^24, a count past 2^31", "the epoch's counters", "train", OK),
    Row(
        "N8",
        "the same seed twice on CUDA",
        "--device cuda",
        "train",
        OK,
        not_yet="train.deterministic does not exist",
    ),
    # --- S ---------------------------------------------------------------------------------------
    Row(
        "S1",
        "the hash of a wheel changed in the lock",
        "edit",
        "install",
        {},
        note="pip refuses the file, nothing is installed; torch alone is not locked, for its CPU "
        "and CUDA builds share a version",
    ),
    Row(
        "S2",
        "a dependency with a known weakness",
        "lower bounds; pip-audit",
        "install",
        {},
        note="the lower bounds leave out the versions with known weaknesses that matter here",
    ),
    Row(
        "S3",
        "pickle, yaml.load, extractall, weights_only=False, verify=False, shell=True in the source",
        "ruff's S rules, a search",
        "check",
        {},
    ),
    Row(
        "S4",
        "any socket where everything is there",
        "sockets that refuse",
        "train, similar, eval, export, embed, plot, info, config, corpus fetch, corpus stats",
        OK,
    ),
    Row(
        "S5",
        "an action that is not pinned by its digest",
        "a search of .github/workflows",
        "release",
        {},
        note="there are no workflows; one that comes must pin its actions",
    ),
    Row(
        "S6",
        "a release that holds data, secrets or bombs",
        "what pyproject.toml packs",
        "release",
        {},
    ),
)
ROWS: dict[str, Row] = {row.id: row for row in _ROWS}

PREAMBLE = """# Faults

What can go wrong, and what `w2v` answers. This page is written from the table that the tests
read, `tests/faults/matrix.py`; `python -m pytest tests/faults/test_matrix.py --write-golden`
writes it anew.

A failure is one exit code and one line on standard error, `w2v: error: ...`, with at most one
line `hint: ...`; never a traceback, unless `W2V_DEBUG=1`. `{..}` stands for some text. With code
0 the messages are warnings or notes. Files that were there stay as they are, or are complete new
ones; no temporary file is left after the next good run; nothing hangs.

| code | meaning |
|---|---|
"""


def page() -> str:
    """The text of docs/faults.md."""
    lines = [PREAMBLE + "\n".join(f"| {code} | {what} |" for code, what in CODES.items())]
    for group, title in GROUPS.items():
        lines += ["", f"## {group}: {title}", "| | fault | how it is made | command | answer |"]
        lines.append("|---|---|---|---|---|")
        lines += [_line(row) for row in ROWS.values() if row.id[0] == group]
    lines += ["", "Not covered: Windows, macOS, network file systems, a real loss of power.", ""]
    return "\n".join(lines)


def _line(row: Row) -> str:
    cells = (row.id, row.fault, row.inject, row.command, "<br>".join(_answers(row)))
    return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"


def _answers(row: Row) -> Iterator[str]:
    if row.not_yet:
        yield f"*not yet: {row.not_yet}*"
    for code, messages in row.ends.items():
        yield " · ".join([f"**{code}**", *(f"`{message}`" for message in messages)])
    if row.note:
        yield row.note
