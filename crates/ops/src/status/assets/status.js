// Keeps the status page fresh: fetches it again every five seconds and puts in what has changed.
"use strict";

(() => {
  const INTERVAL = 5000;
  const get = (id) => document.getElementById(id);
  const pause = get("pause");
  const refreshing = get("refreshing");
  let paused = false;
  let lastGood = performance.now();

  // As the server writes durations.
  const duration = (seconds) => {
    const parts = (unit, name, small, smallName) =>
      `${Math.floor(seconds / unit)} ${name} ${Math.floor((seconds % unit) / small)} ${smallName}`;
    if (seconds >= 86400) return parts(86400, "d", 3600, "h");
    if (seconds >= 3600) return parts(3600, "h", 60, "min");
    if (seconds >= 60) return parts(60, "min", 1, "s");
    return `${Math.floor(seconds)} s`;
  };

  // Between two refreshes the token's time goes on.
  const countDown = () => {
    const left = get("token-left");
    if (!left) return;
    const seconds = Number(left.dataset.seconds) - (performance.now() - lastGood) / 1000;
    left.textContent = duration(Math.max(0, seconds));
  };

  const links = (element) => [...element.querySelectorAll("a, button, summary, [tabindex]")];

  // The keyboard's place stays: the same link of the new content has the focus of the old one.
  const put = (old, fresh) => {
    const place = links(old).indexOf(document.activeElement);
    old.replaceChildren(...fresh.childNodes);
    if (place >= 0) links(old)[place]?.focus({ preventScroll: true });
  };

  const say = (problem) => {
    const stale = get("stale");
    stale.hidden = !problem;
    const text = problem ? `These numbers are stale: ${problem}. Trying again every 5 seconds.` : "";
    if (stale.textContent !== text) stale.textContent = text;
    document.body.classList.toggle("is-stale", Boolean(problem));
  };

  const refresh = async () => {
    try {
      const answer = await fetch(`./${location.search}`, { cache: "no-store", signal: AbortSignal.timeout(INTERVAL) });
      if (!answer.ok) throw new Error(`the module answered ${answer.status}`);
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      if (paused) return;
      lastGood = performance.now();
      for (const old of document.querySelectorAll("[data-live]")) {
        const fresh = page.getElementById(old.id);
        if (fresh && fresh.innerHTML !== old.innerHTML) put(old, fresh);
      }
      document.title = page.title;
      say("");
    } catch (error) {
      say(error instanceof TypeError || error.name === "TimeoutError" ? "the module does not answer" : error.message);
    }
  };

  const show = () => {
    pause.textContent = paused ? "Resume" : "Pause";
    refreshing.textContent = paused ? "Paused" : "Refreshes every 5 s";
  };

  pause.addEventListener("click", () => {
    paused = !paused;
    show();
    if (!paused) refresh();
  });
  pause.hidden = false;
  refreshing.hidden = false;
  show();
  setInterval(() => paused || document.hidden || refresh(), INTERVAL);
  setInterval(() => paused || countDown(), 1000);
})();
