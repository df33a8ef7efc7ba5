"""The pages of the documentation: their blocks, tables, links and headings."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = (".", "sql", "docs", "docs/clients", "docs/deployment")
BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Page:
    """A Markdown file."""

    path: Path

    @property
    def name(self) -> str:
        """Its path in the repository."""
        return self.path.relative_to(ROOT).as_posix()

    @property
    def text(self) -> str:
        return self.path.read_text()

    @property
    def prose(self) -> str:
        """The text without its code blocks."""
        return BLOCK.sub("", self.text)

    def blocks(self, kind: str, heading: str = "") -> list[str]:
        """The code blocks of a language, of one section or of all, without the indentation of the list around them."""
        return [
            "\n".join(line.removeprefix(indent) for line in code.splitlines())
            for indent, language, code in BLOCK.findall(self.section(heading) if heading else self.text)
            if language == kind
        ]

    def commands(self, kind: str = "sh") -> list[str]:
        """The command lines in the blocks of a language. A line that ends with a backslash continues in the next."""
        lines = "\n".join(self.blocks(kind)).replace("\\\n", "").splitlines()
        return [line.partition(" #")[0].strip() for line in lines if line.strip() and not line.startswith("#")]

    def section(self, heading: str) -> str:
        """The text from a heading of level 2 to the next one."""
        return self.text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]

    def table(self, heading: str, number: int = 0) -> list[list[str]]:
        """The cells of a table of a section, without its header. `number` counts the tables of the section from 0."""
        lines = self.section(heading).splitlines()
        starts = [index for index, line in enumerate(lines) if re.match(r"\| ?:?--", line)]
        rows = []
        for line in lines[starts[number] + 1 :]:
            if not line.startswith("|"):
                break
            rows.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
        return rows

    @property
    def anchors(self) -> set[str]:
        """The fragments of links to its headings, as GitHub makes them."""
        headings = re.findall(r"^#+ (.*)", self.prose, re.MULTILINE)
        return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}

    @property
    def links(self) -> list[tuple[str, str]]:
        """The links to files of the repository: path, relative to the page, and fragment. Both may be empty."""
        return re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]*))?\)", self.prose)


def page(name: str) -> Page:
    return Page(ROOT / name)


MAKE_TARGETS = set(re.findall(r"^([a-z-]+):.* ## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
PAGES = [Page(path) for folder in FOLDERS for path in sorted((ROOT / folder).glob("*.md"))]


def names_in(text: str) -> list[str]:
    """The words that are marked as code: names of members, parameters, variables."""
    return re.findall(r"`([\w.*/-]+)`", text)
