"""Links between the pages lead somewhere, and every page can be found on the site."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT

from .links import Link, anchors, fault, links, markdown, slug

LINKS = [link for page in markdown() for link in links(page)]


def test_every_link_leads_somewhere() -> None:
    assert [
        f"{link.page.relative_to(ROOT)}:{link.line} {link.to} {said}" for link in LINKS if (said := fault(link))
    ] == []


def test_the_links_are_read() -> None:
    """A reader that finds nothing would let everything pass."""
    assert len(LINKS) > 150
    assert len([link for link in LINKS if "#" in link.to]) > 20
    assert {"README.md", "CHANGELOG.md", "recipes.md"} <= {link.page.name for link in LINKS}


@pytest.mark.parametrize(
    ("to", "said"),
    [
        ("nothing.md", "leads to no file"),
        ("verdict.md#nothing", "leads to no heading"),
        ("#the-judge", "leads to no heading"),
        ("gates/flagger.yaml#x", "leads to no heading"),
        ("/etc/hosts", "is absolute"),
        ("../../..", "leads out of the project"),
        ("verdict.md#the-judges", ""),
        ("#the-judges", ""),
        ("../README.md", ""),
        ("https://example.com/#x", ""),
    ],
)
def test_what_is_wrong_is_found(to: str, said: str) -> None:
    found = fault(Link(ROOT / "docs" / "verdict.md", 1, to))
    assert found.startswith(said)
    assert bool(found) == bool(said)


def test_anchors_are_github_s() -> None:
    assert slug("A pass, and `--html`: what (not)?") == "a-pass-and---html-what-not"
    assert anchors("# A & B\n\n## x\n\n## x\n\n```\n# no\n```\n<a id='y'></a>\n") == {"a--b", "x", "x-1", "y"}


def test_every_page_has_a_place_on_the_site() -> None:
    """mkdocs.yml names each page of docs/ once, and no page that is not there."""

    class Loader(yaml.SafeLoader):
        pass

    Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda loader, name, node: name)
    told = yaml.load((ROOT / "mkdocs.yml").read_text(), Loader)
    named = _pages(told["nav"])
    assert len(named) == len(set(named))
    docs = ROOT / "docs"
    own = {str(page.relative_to(docs)) for page in docs.rglob("*.md") if page.parent.name != "decisions"}
    assert own - set(named) == set(), "give it a place in the nav of mkdocs.yml"
    for name in named:
        assert (docs / name).exists() or (ROOT / name).exists() or name == "index.md", name
    assert all(Path(name).suffix == ".md" for name in named)


def _pages(nav: object) -> list[str]:
    if isinstance(nav, str):
        return [nav]
    parts = nav.values() if isinstance(nav, dict) else nav if isinstance(nav, list) else ()
    return [name for part in parts for name in _pages(part)]
