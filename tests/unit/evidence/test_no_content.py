"""``no_content``: what is counted is the same, and no word of a request or an answer is kept."""

from __future__ import annotations

from shadowd.evidence.examiner import Examiner, Settings
from shadowd.evidence.rules import Rules
from shadowd.judge.assessment import Assessment
from shadowd.protocols.llm import recognise_untrusted
from shadowd.talk.llm import group_name
from tests.unit.compare.exchanges import answer, examine, request, side


def run(content: bool) -> Examiner:
    examiner = Examiner(Settings(content=content), Rules())
    for number in range(50):
        ours = answer({"n": number, "name": "Marigold"}, headers={"X-Name": "Marigold"})
        theirs = answer({"n": number, "name": "Barnaby"}, headers={"X-Name": "Barnaby"})
        examine(examiner, request("/people", time=number + 1), ours, side(theirs))
        failed = side(answer({"error": "no bed for Marigold"}, 500))
        examine(examiner, request("/beds", time=number + 1), ours, failed)
    return examiner


def words_of(examiner: Examiner) -> str:
    found = Assessment(examiner, examiner.compared, 60.0)
    made = found.finish()
    examples = [one.production + one.candidate + one.request for one in examiner.examples]
    signatures = [(one.signature.title, one.example) for one in examiner.signatures.values()]
    return repr((made, found.differences, found.endpoints, examples, signatures))


def test_the_same_counts_and_no_words() -> None:
    told, silent = run(True), run(False)
    assert "Marigold" in words_of(told)
    assert "Barnaby" in words_of(told)
    assert "Marigold" not in words_of(silent)
    assert "Barnaby" not in words_of(silent)
    assert not silent.examples
    assert list(told.signatures) == list(silent.signatures)
    for name, endpoint in told.endpoints.items():
        other = silent.endpoints[name]
        assert (endpoint.total, endpoint.differing) == (other.total, other.differing)
        assert endpoint.outcomes.worse == other.outcomes.worse
        assert {place: field.differed for place, field in endpoint.fields.items()} == {
            place: field.differed for place, field in other.fields.items()
        }


def test_a_prompt_is_named_by_its_digest() -> None:
    body = b'{"model": "aria-1", "messages": [{"role": "system", "content": "Marigold is ill."}]}'
    ask = recognise_untrusted(b"/v1/chat/completions", b"", body)
    assert ask is not None
    assert "Marigold" in group_name(ask)
    silent = group_name(ask, words=False)
    assert "Marigold" not in silent
    assert silent.rpartition("#")[2] == group_name(ask).rpartition("#")[2]
