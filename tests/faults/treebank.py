"""A treebank of three tiny texts, packed and published as the real one is."""

import hashlib
import io
import warnings
import zipfile

from w2v.archive import Member
from w2v.sources import ptb
from w2v.web import Patience

FAST = Patience(connect_s=5, read_s=5, deadline_s=20, backoff_s=0.01, longest_wait_s=0.02)
TEXTS = {
    "ptb/ptb.train.txt": b"the cat sat on the mat\n" * 40,
    "ptb/ptb.valid.txt": b"a dog ran\n" * 20,
    "ptb/ptb.test.txt": b"no test is run\n" * 20,
}
TRAIN, VALID, TEST = TEXTS


def pack(texts=TEXTS, *, method=zipfile.ZIP_DEFLATED):
    """An archive of a dict of texts, or of (name, text) pairs that may hold doubles."""
    pairs = texts.items() if isinstance(texts, dict) else texts
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w") as archive:
        warnings.filterwarnings("ignore", "Duplicate name")
        for name, text in pairs:
            info = name if isinstance(name, zipfile.ZipInfo) else zipfile.ZipInfo(name)
            info.compress_type = method
            archive.writestr(info, text)
    return buffer.getvalue()


def digest(data):
    return hashlib.sha256(data).hexdigest()


ARCHIVE = pack()
REPACKED = pack(method=zipfile.ZIP_STORED)
OTHER_TEXTS = {name: text.upper() for name, text in TEXTS.items()}
COMPLETE = {"ptb.zip": ARCHIVE, **TEXTS}


def published(*urls):
    members = [Member(name, len(text), digest(text)) for name, text in TEXTS.items()]
    return ptb.Published(urls, len(ARCHIVE), digest(ARCHIVE), *members)


MEMBERS = published().members()


def put(folder, texts):
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(text)


def tree(folder):
    """Every file below a folder, with its bytes."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def is_complete(folder):
    """Whether all is there that is ever read, the rest is there or not, and nothing else is."""
    found = tree(folder)
    return found in (COMPLETE, {name: text for name, text in COMPLETE.items() if name != TEST})
