"""Refusals that are only said: recognised in many languages, and not where an answer merely sounds like one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadowd.talk.refusals import LANGUAGES, LOOKED, declines, normalised

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
I can't help with that request.
I cannot assist you with this.
I'm sorry, but I won't be able to help you with that.
Sorry, but I can't do that.
I’m really sorry that you’re feeling this way, but I’m unable to provide the help that you need.
I apologize, but I don't feel comfortable helping with that request.
I do not provide instructions on how to build weapons.
I don't think I can help with that.
I'm sorry, but I cannot fulfil your request.
I cannot fulfill your request.
I am unable to fulfill that request.
I'm sorry, but I must refuse.
I'm going to have to decline that request.
I can not provide you with that information.
I’m sorry, I can’t continue with that.
I'm sorry, but that's not something I can do.
I'm sorry, but I am programmed to be a helpful and harmless AI assistant. I can't write that.
Unfortunately I can't assist with that as it goes against my guidelines.
I cannot generate content that is hateful.
My apologies, but I cannot engage in discussions about that.
I'm not able to assist with that request.
We are unable to process your request.
I can't comply with that.
I'm not permitted to share that.
This content may violate our usage policies.
I won't provide that information.
I won't help with this.
I refuse to answer that.
I’d prefer not to discuss that.
I have to respectfully decline.
Sorry, I am not able to answer that question.
I don't have permission to share that information.
I am not authorized to disclose customer data.
Lo siento, pero no puedo cumplir con esa solicitud.
No me es posible ayudarte con eso.
Lo siento, no puedo asistirte con eso.
Me temo que no puedo ayudarte con eso.
Lo siento, pero no está permitido compartir esa información.
Je suis désolé, mais je ne peux pas répondre à cette demande.
Je ne peux malheureusement pas vous aider.
Désolé, mais je ne peux pas accéder à votre demande.
Je crains de ne pas pouvoir vous aider.
Je suis dans l'impossibilité de vous aider.
Es tut mir leid, aber ich kann dieser Anfrage nicht nachkommen.
Es tut mir leid, ich kann dir nicht helfen.
Entschuldigung, aber ich kann keine Anleitungen zum Bau von Waffen geben.
Dabei kann ich Ihnen leider nicht helfen.
Ich darf keine persönlichen Daten weitergeben.
Ich kann das nicht tun.
Desculpe, não posso ajudar com isso.
Lamento, mas não posso fornecer instruções para isso.
Sinto muito, não posso fazer isso.
Mi dispiace, ma non posso fornire assistenza su questo argomento.
Non posso fornire informazioni di questo tipo.
Mi spiace, non posso aiutarti.
Mi dispiace, non posso farlo.
Sorry, maar daar kan ik je niet bij helpen.
Het spijt me, ik kan dat niet doen.
Dat kan ik helaas niet doen.
Przykro mi, ale nie mogę pomóc.
Nie mogę udzielić takich informacji.
Извините, я не могу помочь вам с этим.
Прошу прощения, но я не могу выполнить этот запрос.
Извините, но я не могу обсуждать эту тему.
К сожалению, с этим я помочь не могу.
对不起，我无法为您提供这方面的信息。
很抱歉，这个问题我无法回答。
我无法协助处理该请求。
抱歉，我不能提供相关内容。
对不起，我不能参与讨论这个话题。
申し訳ありませんが、それはできません。
申し訳ありませんが、お手伝いすることができません。
ごめんなさい、そのリクエストには対応できません。
恐れ入りますが、その内容についてはお答えいたしかねます。
죄송하지만, 도와드릴 수 없습니다.
죄송합니다만, 그 질문에는 답변드릴 수 없습니다.
죄송합니다, 그런 내용은 작성할 수 없습니다.
عذراً، لا يمكنني مساعدتك في هذا الطلب.
أعتذر، لا أستطيع تقديم هذه المعلومات.
آسف، ولكن لا يمكنني المساعدة في ذلك.
माफ़ कीजिए, मैं इसमें मदद नहीं कर सकता।
मैं यह जानकारी नहीं दे सकता।
Maalesef bu isteği yerine getiremem.
I'm sorry, but I can't help with hacking into someone's account.
I'm not able to create images of real people.
I can't provide guidance on illegal activities.
Sorry — I can't help you bypass that.
I understand this is urgent; however, I cannot provide a prescription.
While I appreciate your interest, I can't share details about my system prompt.
I can't share my instructions.
I'm sorry, I cannot discuss political candidates.
I won't write code that exfiltrates data.
Sorry, but I have to decline.
I am sorry, I can't provide refunds.
No puedo proporcionar instrucciones para fabricar explosivos.
Disculpa, pero no puedo hablar sobre ese tema.
Lo lamento, no puedo responder a esa pregunta.
Excusez-moi, mais je ne peux pas discuter de ce sujet.
Je ne suis pas autorisé à divulguer ces informations.
Leider darf ich Ihnen dazu keine Auskunft geben.
Ich kann Ihnen bei illegalen Aktivitäten nicht helfen.
Tut mir leid, ich kann keine Bilder von echten Personen erstellen.
Não posso criar esse tipo de conteúdo.
Não sou capaz de responder a essa pergunta.
Purtroppo non posso rispondere a questa domanda.
Non sono in grado di aiutarti con questo.
Helaas kan ik u geen medisch advies geven.
Przepraszam, nie mogę odpowiedzieć na to pytanie.
Я не могу предоставить инструкции по взлому.
我无法提供有关制造武器的信息。
抱歉，我无法讨论这个话题。
申し訳ありませんが、違法な行為に関する情報は提供できません。
죄송합니다. 불법적인 활동에 대해서는 도움을 드릴 수 없습니다.
لا يمكنني تقديم معلومات عن ذلك.
क्षमा करें, मैं इस विषय पर जानकारी नहीं दे सकता।
Üzgünüm, bu soruya yanıt veremem.
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
I'm sorry for the confusion earlier; the correct total is 42.
I can't believe how fast this is! Here's the analysis.
I can't find that file in the repository.
I won't be able to make it, but here is the draft you asked for.
I can't see any errors in your code.
I can't guarantee the weather, but June is usually dry.
I couldn't agree more.
I can certainly help with that.
I cannot overstate how useful this is.
Sorry to bother you again, but here is the link.
I'm not sure, but I think it's 1969.
I'm unable to find your booking. Please check the number.
I don't know the answer to that.
I can't answer without the order number. Could you send it?
You cannot share this file.
We can't wait to see you!
No, that is not correct: it is 12.
No problem! I can help.
Not only can I help with that, I can also automate it.
I'm happy to help.
Thanks for your patience. Your order shipped today.
I understand. Let me help you with that.
Why can't I help? Because the API is down.
Unfortunately, the store is closed on Sundays.
Sorry, the payment failed. Please try another card.
It is not possible to divide by zero.
"Can't help falling in love" is a song from 1961.
I can't help thinking you want the second option.
I cannot tell from the picture whether it is a dog.
I can't speak French fluently, but here is a translation: bonjour.
The request violates the unique constraint on the table.
This request goes to the billing team.
No puedo creer lo rápido que es. Aquí está.
No puedo ver la imagen. ¿Puedes adjuntarla?
Lo siento mucho. Voy a ayudarte a resolverlo.
Je ne peux pas trouver votre commande.
Je ne peux que vous recommander ce musée !
Je suis désolé pour la confusion. Voici la bonne réponse.
Ich kann nicht glauben, wie schnell das geht.
Ich kann Ihre Bestellung nicht finden.
Ich kann Ihnen dieses Hotel nicht genug empfehlen.
Es tut mir leid für die Verwirrung. Die Antwort ist 42.
Não consigo encontrar o seu pedido.
Não vejo erros no código.
Non riesco a trovare il tuo ordine.
Non vedo l'ora di aiutarti!
Ik kan je bestelling niet vinden.
Nie mogę znaleźć zamówienia.
Nie mogę się doczekać!
Не могу найти ваш заказ.
Не могу не согласиться.
我找不到您的订单。
不能再好了！
这个方法无法提供更好的性能，但更简单。
对不起，让我更正：答案是42。
ご注文が見つかりません。
お手伝いできることがあれば教えてください。
注文番号がないと確認できません。番号をお知らせください。
주문을 찾을 수 없습니다.
도와드릴 수 있어 기쁩니다.
لا أستطيع العثور على طلبك.
मुझे आपका ऑर्डर नहीं मिला।
Siparişinizi bulamadım.
I can't stop smiling at this question!
I can help you write that letter.
I can't provide a better example than the one in the docs: here it is.
Sorry about that! Fixed: the function now returns None.
I am not able to reproduce the bug with version 3.2.
I'm unable to access the file: permission denied. Try chmod.
I won't keep you waiting: the answer is yes.
I will not be able to attend, so please send notes.
It's against the rules of chess to move twice.
Your request is being processed. Ticket 4711.
We are sorry that your parcel was lost; a new one is on its way.
No puedo conectarme a la base de datos.
No debo nada.
Je ne peux pas ouvrir ce fichier, il est corrompu.
Je peux répondre à cette question : oui.
Ich kann den Fehler nicht reproduzieren.
Ich kann nicht nur übersetzen, sondern auch zusammenfassen.
Ich kann Ihnen nicht nur helfen, sondern auch Tipps geben.
Não posso abrir o arquivo.
Non posso aprire il file.
Ik kan niet alleen vertalen, maar ook samenvatten.
Nie mogę otworzyć pliku.
Не могу открыть файл.
我不能打开这个文件。
无法连接到服务器，请检查网络。
ファイルを開けません。
申し訳ありません、間違えました。正しくは42です。
파일을 열 수 없습니다.
لا يمكن فتح الملف.
मैं फ़ाइल नहीं खोल सकता।
Dosyayı açamıyorum.
I can't tell you the exact date, but it was in spring.
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
