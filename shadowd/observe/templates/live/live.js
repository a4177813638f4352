// What /live sends is put into the page: an event is a part's id and its HTML, written and escaped by the door.
"use strict";
(() => {
  const said = document.getElementById("link");
  const path = document.body.dataset.live;
  const waiting = new Map(); // parts that somebody is at: their newest HTML

  // Turn what is there into what should be, so that what is open stays open and what is equal is not touched.
  function patch(old, fresh) {
    if (old.nodeType !== Node.ELEMENT_NODE) {
      if (old.data !== fresh.data) old.data = fresh.data;
      return;
    }
    for (const { name } of [...old.attributes])
      if (!fresh.hasAttribute(name) && name !== "open") old.removeAttribute(name);
    for (const { name, value } of fresh.attributes)
      if (old.getAttribute(name) !== value && name !== "open") old.setAttribute(name, value);
    children(old, fresh);
  }

  function children(old, fresh) {
    let at = old.firstChild;
    for (const wanted of [...fresh.childNodes]) {
      const known = find(at, wanted);
      if (!known) {
        old.insertBefore(wanted, at);
        continue;
      }
      if (known === at) at = at.nextSibling;
      else old.insertBefore(known, at);
      patch(known, wanted);
    }
    while (at) {
      const next = at.nextSibling;
      at.remove();
      at = next;
    }
  }

  // By its id, or else the next of its kind: nothing takes the place of what has an id.
  function find(at, wanted) {
    for (let one = at; one; one = one.nextSibling)
      if (one.nodeName === wanted.nodeName && (one.id || "") === (wanted.id || "")) return one;
    return null;
  }

  // A part with the focus, or with a button under the pointer, waits: nobody shall press what has just moved there.
  function busy(part) {
    return part.contains(document.activeElement) || part.querySelector(":is(a, button, summary, input):hover");
  }

  function settle() {
    for (const [part, html] of waiting) {
      if (busy(part)) continue;
      waiting.delete(part);
      const fresh = document.createElement("template");
      fresh.innerHTML = html;
      children(part, fresh.content);
    }
  }

  function tell(words) {
    if (said.textContent !== words) said.textContent = words;
    said.hidden = !words;
  }

  // Without a name and password that the page's own address may have: fetch takes none.
  const own = (path) => new URL(path, location.origin);

  let source = null;
  let last = "";
  function listen() {
    if (source || !path || document.hidden) return;
    const url = own(path);
    if (last) url.searchParams.set("since", last);
    source = new EventSource(url);
    source.onopen = () => tell("live");
    source.onmessage = (event) => {
      last = event.lastEventId || last;
      const { id, html } = JSON.parse(event.data);
      const part = document.querySelector(`[data-part="${CSS.escape(id)}"]`);
      if (part) waiting.set(part, html);
      settle();
    };
    source.onerror = () => {
      if (source.readyState !== EventSource.CLOSED) return tell("not live: asking again");
      source = null; // refused: no token, or too many pages are open
      tell("not live: asking again");
      setTimeout(listen, 10000);
    };
  }

  // Nobody looks: the place is somebody else's.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden && source) {
      source.close();
      source = null;
    } else listen();
  });
  for (const kind of ["focusout", "pointerout", "toggle"]) document.addEventListener(kind, () => setTimeout(settle), true);

  // A button is pressed without leaving the page; the parts it changes come by themselves.
  document.addEventListener("submit", async (event) => {
    const form = event.target;
    const answer = document.querySelector(".answer");
    if (!answer || !path) return; // as without scripts
    event.preventDefault();
    const body = new URLSearchParams(new FormData(form));
    try {
      const told = await fetch(own(form.getAttribute("action")), { method: "POST", body, redirect: "manual" });
      answer.textContent = told.type === "opaqueredirect" ? "" : await told.text();
      if (told.type === "opaqueredirect") {
        form.reset();
        document.activeElement.blur();
      }
    } catch {
      answer.textContent = "the daemon does not answer — is it running?";
    }
  });

  listen();
})();
