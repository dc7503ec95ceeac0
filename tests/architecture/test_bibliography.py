"""What a docstring names as its source is in the bibliography, and the other way round."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "reference" / "bibliography.md").read_text()
SOURCE = re.compile(r"^Source:\n((?:    .*\n?|\n)+)", re.MULTILINE)
# "Do et al. 2024", "Chen, Cheung and Zhang 2024", "Chung 1997": the first name and the year
NAMED = re.compile(
    r"([A-Z][\w-]+)(?:(?:, [A-Z][\w-]+)* and [A-Z][\w-]+| et al\.)? ((?:19|20)\d\d)\b"
)
READING = "**Surveys and software**"


def entries(page):
    """One string for each entry: authors, title, year."""
    items = re.split(r"^(?=- |\*\*)", page, flags=re.MULTILINE)
    return [" ".join(item.split()) for item in items if item.startswith("- ")]


def sources():
    """(name, year) of each publication under "Source:", with the docstring that names it."""
    found = {}
    for file in sorted((ROOT / "gsp_unroll").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
                for section in SOURCE.findall(ast.get_docstring(node) or ""):
                    where = f"{file.name}: {getattr(node, 'name', '')}"
                    for publication in NAMED.findall(" ".join(section.split())):
                        found.setdefault(publication, where)
    return found


def is_of(entry, name, year):
    """Whether `name` is the first author, and the year is there."""
    first = re.split(r",| and ", entry)[0]
    return first.split()[-1] == name and re.search(rf"\b{year}\b", entry) is not None


SOURCES = sources()


def test_sources_are_found():
    assert {("Do", "2024"), ("Chen", "2024"), ("Zelnik-Manor", "2004")} <= SOURCES.keys()


@pytest.mark.parametrize(("name", "year"), SOURCES)
def test_a_source_has_one_entry(name, year):
    assert sum(is_of(entry, name, year) for entry in entries(PAGE)) == 1, SOURCES[name, year]


@pytest.mark.parametrize("entry", entries(PAGE.partition(READING)[0]))
def test_an_entry_is_the_source_of_something(entry):
    assert any(is_of(entry, name, year) for name, year in SOURCES)
