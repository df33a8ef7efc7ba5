"""Finds sentences that break the language rule of CONTRIBUTING.md, and prints `file:line: fault: sentence` for each.

Reads Markdown without its code, comments, docstrings, and all strings in todo_service/. Without arguments it reads all
files of the checkout, except those that .gitignore names.
"""

import ast
import io
import os
import re
import sys
import tokenize
from collections.abc import Iterator
from fnmatch import fnmatch
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).parents[1]
MAX_WORDS = 35  # most sentences should have at most 25; the margin is for lists of names
FAULTS = {
    r"^(?:who|whose|what)\b.*[.:]$": "begins with Who or What: begin with the client, the service, PostgreSQL, ...",
    r"\b(?:nobody|somebody|someone|everybody|whoever|whatever)\b": "indefinite: name the client, the value, ...",
    r"\bmeanwhile\b": "meanwhile: say since when, or until when",
    r"\bmay as well\b": "may as well: say what the client does",
    r"\b(?:is|are|was|were|be|been) away\b": "away: say unreachable, or stopped",
    r"\bin the way\b(?! (?:that|in which)\b)": "in the way: say what fails",
    r"\bgo(?:es)? on \w+ing\b": "goes on: say continues, or stays in use",
}
# Parts of sentences that are allowed although a pattern matches, each with its reason.
ALLOWED = {
    r"\baccount nobody\b": "the operating system has an account of this name",
    r"\bwhatever the session's settings are\b": "in a migration, whose text never changes",
}
HASH = (
    ".cfg",
    ".conf",
    ".example",
    ".service",
    ".sh",
    ".toml",
    ".txt",
    ".yaml",
    ".yml",
    "Dockerfile",
    "Makefile",
    "run",
)
COMMENTS = dict.fromkeys(HASH, "#") | {
    ".lua": "--",
    ".sql": "--",
    ".css": "/[*]",
    ".go": "//",
    ".js": "//",
    ".ts": "//",
}
END = "\f"  # the end of a sentence without a full stop
SENTENCE_END = re.compile(
    r"""\f|(?<=[.!?])(?<!e\.g\.|i\.e\.)["')\]]*\s+|(?<=:)\s+(?=["'(]?[A-Z])|\s·\s"""
    # A sentence also ends before an empty line, a list item, a heading, a parameter ($1) or a line with a wide gap.
    r"""|\n(?=\s*(?:\n|[-*#>$]|\d+\. )|.*\S {2,}\S)"""
)


def markdown(text: str) -> str:
    text = re.sub(r"(?ms)^( *)(```|~~~).*?^ *\2", lambda code: "\n" * code[0].count("\n"), text)
    return re.sub(r"(?m)^\|.*", lambda row: re.sub(r"(?<!\\)\|", END, row[0]), text)


def comments(text: str, marker: str) -> str:
    lines = [re.match(rf"(.*?)(?<!\S){marker}+\s(.*)", line) for line in text.split("\n")]
    return "\n".join((f"{END}{line[2]}{END}" if line[1].strip() else line[2]) if line else "" for line in lines)


def python(text: str, with_strings: bool) -> str:
    """Returns the comments, the docstrings and, if wanted, all other strings. A value in an f-string becomes X."""
    lines = [""] * (text.count("\n") + 2)
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            comment = token.string.lstrip("# ")
            lines[token.start[0]] += f"{END}{comment}{END}" if token.line[: token.start[1]].strip() else comment
    strings = {node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Expr | ast.JoinedStr | ast.Constant)}
    docstrings = {node.value for node in strings if isinstance(node, ast.Expr)}
    parts = {part for node in strings if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in (strings - parts) if with_strings else docstrings:
        values = node.values if isinstance(node, ast.JoinedStr) else [node]
        string = "".join(str(value.value) if isinstance(value, ast.Constant) else "X" for value in values)
        for number, line in enumerate(f"{END}{string}{END}".split("\n")[: len(lines) - node.lineno], node.lineno):
            lines[number] += line
    return "\n".join(lines[1:])


def prose(path: Path) -> str:
    """The text for human readers in a file, with each word in the line that it has in the file."""
    marker = COMMENTS.get(path.suffix or path.name)
    text = path.read_text(encoding="utf-8") if marker or path.suffix in {".md", ".py"} else ""
    if path.suffix == ".sql":
        text = text.replace("\n", f"{END}\n", 1)  # the file's name
    if path.suffix == ".py":
        return python(text, with_strings="todo_service" in path.parts)
    return comments(text, marker) if marker else markdown(text)


def sentences(text: str) -> Iterator[tuple[int, str]]:
    """The sentences of a text, without markup, each with the number of its line."""
    text = re.sub(r"(`+)[^`]+\1", lambda code: "X" + "\n" * code[0].count("\n"), text)
    text = re.sub(r"<[^<>\n]*>|[*]{2}|!?\[(?=[^]]*\]\()|\]\([^)]*\)", "", text)
    for start, end in pairwise([0, *(match.end() for match in SENTENCE_END.finditer(text)), len(text)]):
        sentence = re.sub(r"^\W+(?:\d+\. )?", "", text[start:end].replace(END, ""))
        yield text.count("\n", 0, end) - sentence.count("\n") + 1, " ".join(sentence.split())


def faults(path: Path) -> Iterator[str]:
    for line, sentence in sentences(prose(path)):
        words = len(sentence.split())
        rest = re.sub("|".join(ALLOWED), "", sentence) if words > 2 else ""  # one or two words are a name
        found = [fault for pattern, fault in FAULTS.items() if re.search(pattern, rest, re.IGNORECASE)]
        found += [f"{words} words: write sentences of at most {MAX_WORDS}"] * (words > MAX_WORDS)
        yield from (f"{os.path.relpath(path, ROOT)}:{line}: {fault}: {sentence}" for fault in found)


def files() -> Iterator[Path]:
    ignored = [".git", *(line.rstrip("/") for line in (ROOT / ".gitignore").read_text().splitlines())]
    for folder, folders, names in os.walk(ROOT):
        for name in sorted(folders + names):
            path = Path(folder, name).relative_to(ROOT).as_posix()
            if any(fnmatch(path if "/" in each else name, each) for each in ignored):
                (folders if name in folders else names).remove(name)
        yield from (Path(folder, name) for name in sorted(names))


if __name__ == "__main__":
    found = [fault for path in (map(Path, sys.argv[1:]) if sys.argv[1:] else files()) for fault in faults(path)]
    print(*found, sep="\n", end="\n" if found else "")
    sys.exit(bool(found) and f"{len(found)} faults: CONTRIBUTING.md, Language, says how to write these sentences")
