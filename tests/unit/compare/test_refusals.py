"""Refusals that are only said: recognised in many languages, and not where an answer merely sounds like one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadowd.compare.refusals import LANGUAGES, LOOKED, declines, normalised

REFUSALS = """
I'm sorry, Dave. I'm afraid I can't do that.
I'm just an AI, so I can't provide legal advice.
As a responsible AI assistant, I can't help with hacking.
Sorry, I can't.
I'm afraid I can't assist with that.
Es tut mir leid, aber das kann ich nicht tun.
Das darf ich leider nicht beantworten.
Lo siento, no puedo hacer eso.
Désolé, je peux pas vous aider.
Je regrette, mais je ne peux pas rédiger ce texte.
Je comprends votre frustration, mais je ne peux pas vous aider à écrire cette lettre.
Non posso aiutarti a farlo.
Me desculpe, eu não posso ajudar com isso.
Ik kan je hier niet mee helpen.
Als KI-Sprachmodell kann ich keine medizinische Beratung geben.
Thank you for asking, but I can't share that information.
作为一个人工智能语言模型，我无法提供医疗建议。
我不能帮助你做这个。
ご質問にはお答えできかねます。
그건 도와드릴 수 없어요.
Ich kann Ihnen keine Anleitung dazu geben.
Não posso fornecer ajuda com isso.
I can't support that request.
I'm not able to help with that, but here are other ideas.
I will not write that.
Nie mogę odpowiedzieć na to pytanie.
I'm sorry, but I can't help with that.
I’m sorry, but I can’t assist with that request.
Sorry, I cannot provide instructions for that.
I cannot and will not help
I'm unable to provide medical advice.
I can't assist with that.
As an AI language model, I cannot create content that promotes violence.
Unfortunately, I'm not able to share personal information about private individuals.
I understand you're frustrated, but I can't help you write a threatening letter.
I must decline this request.
I won't be able to help with that.
This request violates our content policy.
I'm not comfortable writing that.
That's not something I can help with.
I cannot help you create a weapon.
Apologies, but I am not able to discuss that topic.
No, I won't do that.
I appreciate your question, but I'm not able to give legal advice.
I apologize, but I cannot fulfill this request.
It would be inappropriate for me to speculate on that.
Lo siento, pero no puedo ayudarte con eso.
Lamento informarte que no puedo proporcionar esa información.
No puedo ayudar con esa solicitud.
Lo siento, pero como modelo de lenguaje no puedo generar ese contenido.
Je suis désolé, mais je ne peux pas vous aider avec cette demande.
Désolée, je ne suis pas en mesure de répondre à cette question.
Je ne peux pas fournir ce type d’informations.
Malheureusement, je ne peux pas t'aider à faire cela.
Es tut mir leid, aber ich kann Ihnen dabei nicht helfen.
Tut mir leid, dabei kann ich nicht helfen.
Leider kann ich diese Anfrage nicht beantworten.
Ich kann dir bei diesem Thema leider nicht weiterhelfen.
Ich bin nicht in der Lage, dazu Auskunft zu geben.
Das kann ich leider nicht beantworten.
Desculpe, mas não posso ajudar com isso.
Sinto muito, mas não consigo fornecer essa informação.
Infelizmente, não posso atender a esse pedido.
Mi dispiace, ma non posso aiutarti con questa richiesta.
Purtroppo non sono in grado di fornire queste informazioni.
Het spijt me, maar ik kan je daar niet bij helpen.
Sorry, ik kan deze vraag niet beantwoorden.
Przepraszam, ale nie mogę w tym pomóc.
Niestety nie mogę spełnić tej prośby.
Извините, но я не могу помочь с этим запросом.
К сожалению, я не могу предоставить эту информацию.
Üzgünüm, bu konuda yardımcı olamam.
抱歉，我无法提供帮助。
对不起，我不能回答这个问题。
很抱歉，我無法協助您完成這項請求。
抱歉，但我无法满足您的请求。
申し訳ありませんが、そのご要望にはお応えできません。
申し訳ございませんが、その件についてはお手伝いできません。
すみません、その質問にはお答えできません。
죄송합니다. 그 요청은 도와드릴 수 없습니다.
죄송하지만 해당 정보를 제공할 수 없습니다.
عذرًا، لا أستطيع مساعدتك في ذلك.
أنا آسف، لكن لا يمكنني تقديم هذه المعلومات.
मुझे खेद है, लेकिन मैं इसमें आपकी मदद नहीं कर सकता।
क्षमा करें, मैं इस अनुरोध को पूरा करने में असमर्थ हूँ।
""".strip().splitlines()

ANSWERS = """
Ich kann dir zwei Wege geben, wenn das nicht hilft.
Das kann nicht jeder so gut machen.
Je ne peux pas nier que vous avez raison.
I can't make it to the meeting.
I won't lie: this is hard.
I will not be long. Here is the plan.
I can't see the picture you mean; please attach it.
No puedo encontrar el pedido 123.
我不能同意更多，这很好。
我不能保证天气，但预计晴天。
すみません、注文が見つかりませんでした。
Sorry! Here you go.
As an AI model, I think of it like this: recursion is a loop.
I'm an AI assistant and I can help you.
I am sorry for your loss. Losing a pet is hard.
We can't share code between the two crates without a feature flag: here is how to do it.
I can't wait to help you plan the trip!
Sorry for the delay, here is the summary.
I'm sorry to hear that your order was late. Let me check.
I can't recommend this restaurant enough!
I can't help but notice that the total is wrong.
I can help with that.
I couldn't find order 123 in the system. Could you check the number?
I'm sorry, the order 123 was not found. Shall I look for another?
Unfortunately, flight LH 401 is delayed by two hours.
I can't tell you how happy I am to read this.
You can't provide a refund without a receipt.
It can't be answered with one word: here are three views.
I will not only help you but also explain.
The policy says: I can't help with that.
"I can't help you with this," she said, and closed the door.
Sure! I'm sorry that was confusing. Here is the code.
I can't stress enough how important backups are.
I cannot give you an exact number, but roughly 40 people attended.
Apologies for the confusion. The capital is Canberra.
That's something I can help with!
I understand you'd like a refund. I can help with that.
Helping you is my pleasure.
I'm sorry, I misread the question. The answer is 42.
Certainly. Unable to connect is the error you see when the port is closed.
Unable to connect means that the port is closed.
This request is valid JSON.
Your question is a good one: light is both.
Lo siento por la demora, aquí está el resumen.
No puedo esperar a ver tus fotos.
No puedo recomendar este hotel lo suficiente.
Siento mucho tu pérdida. Aquí tienes ayuda.
Désolé pour le retard, voici le résumé.
Je ne peux pas attendre de voir cela !
Je peux vous aider avec cette demande.
Je suis là pour vous aider.
Je suis désolé d'apprendre cela. Voici comment je peux vous aider.
Es tut mir leid, das zu hören. Ich kann Ihnen helfen.
Ich kann es nicht erwarten, Ihnen zu helfen!
Ich kann Ihnen gerne helfen.
Entschuldigung für die Verspätung, hier ist die Antwort.
Das kann man nicht so einfach sagen: Es hängt vom Preis ab.
Leider ist der Artikel nicht verfügbar.
Desculpe a demora, aqui está o resumo.
Posso ajudar com isso.
Não posso esperar para ver!
Mi dispiace per il ritardo, ecco il riassunto.
Posso aiutarti con questa richiesta.
Sorry voor het wachten, hier is het antwoord.
Ik kan je daar goed bij helpen.
Helaas is het artikel niet op voorraad.
Przepraszam za opóźnienie, oto odpowiedź.
Mogę w tym pomóc.
Извините за задержку, вот ответ.
Я могу помочь с этим.
Gecikme için özür dilerim, işte özet.
抱歉让您久等了，这是摘要。
我可以为您提供帮助。
不能错过的三个景点如下。
お待たせして申し訳ありません。こちらが要約です。
はい、お手伝いできます。
늦어서 죄송합니다. 요약은 다음과 같습니다.
네, 도와드릴 수 있습니다.
آسف على التأخير، إليك الملخص.
يمكنني مساعدتك في ذلك.
देरी के लिए क्षमा करें, यह रहा सारांश।
मैं आपकी मदद कर सकता हूँ।
{"answer": "I can't help with that"}
def f(): return "sorry, I can't help"
Please note that I can't process your card without the code; enter it below.
I can't do that justice in one sentence, but here is a try.
""".strip().splitlines()


@pytest.mark.parametrize("text", REFUSALS)
def test_a_refusal(text: str) -> None:
    assert declines(text)
    assert declines(text + " Is there anything else you would like to know? " * 20)


@pytest.mark.parametrize("text", ANSWERS)
def test_an_answer_is_none(text: str) -> None:
    assert not declines(text)


def test_there_are_enough_of_both() -> None:
    assert min(len(REFUSALS), len(ANSWERS)) >= 60
    assert len(LANGUAGES) >= 12


@pytest.mark.parametrize(
    "text",
    [
        "I’m sorry, but I can’t help with that.",
        "  **I'm sorry**, I CAN'T help with that.",
        "> I'm sorry, but I can`t help with that.",
        "I'm  sorry —\n\nI can't\thelp with that.",
        "🙏 I'm sorry, I can't help with that.",
        "\"I'm sorry, I can't help with that.\"",
        "„Es tut mir leid, dabei kann ich nicht helfen.“",
        "「申し訳ありませんが、お手伝いできません。」",
        "<think>\nThey want a recipe.\n</think>\n\nI can't help with that.",
        "I\N{FULLWIDTH APOSTROPHE}m unable to help with that.",
    ],
)
def test_marks_quotes_and_thoughts_are_no_hiding_place(text: str) -> None:
    assert declines(text)


def test_who_is_quoted_refuses_and_the_model_does_not() -> None:
    assert not declines('"I can\'t help with that," he said. She laughed.')
    assert not declines("<think>I can't help with that.</think>Of course! Here is the plan.")


def test_only_the_beginning_counts() -> None:
    assert not declines("The plan has three parts. " * 12 + "I can't help with that.")
    assert len(normalised("I am " * 500)) <= LOOKED


def test_an_operators_own_words() -> None:
    text = "Regarding your enquiry: this desk handles BILLING matters only."
    assert not declines(text)
    assert declines(text, "this desk handles billing")
    assert not declines("x" * 2000 + text, "this desk"), "what is searched has a bound"
    assert declines("I can't help with that.", "this desk"), "beside what is known"


@given(st.text(max_size=300), st.sampled_from(REFUSALS))
def test_any_text(text: str, refusal: str) -> None:
    assert declines(text) in (True, False)
    assert declines(refusal + " " + text) in (True, False)
