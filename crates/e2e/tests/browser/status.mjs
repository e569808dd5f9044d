// Looks at the status page as people do: by eye, by keyboard, by screen reader's rules, in trouble, and without JavaScript.
// Prints one JSON object with what was found; the test judges it.
import { readFileSync, writeFileSync } from "node:fs";
import { DESK, PHONE, launch, open } from "./browser.mjs";

const [modules, url, faultFile] = process.argv.slice(2);
const axe = readFileSync(`${modules}/axe-core/axe.min.js`, "utf8");
const browser = await launch(modules);
const found = { axe: [], wide: [], complaints: [], foreign: [] };

const keep = ({ seen }) => {
  found.complaints.push(...seen.complaints);
  found.foreign.push(...seen.requests.filter((one) => !one.startsWith(url)));
};

// Accessibility, everything unfolded, by every rule of axe; and nothing is wider than the screen.
for (const colorScheme of ["light", "dark"]) {
  for (const viewport of [DESK, PHONE]) {
    const view = await open(browser, { colorScheme, viewport });
    await view.page.goto(`${url}?panels=all`);
    await view.page.evaluate(() => document.querySelectorAll("details").forEach((one) => (one.open = true)));
    await view.page.evaluate(axe);
    const { violations } = await view.page.evaluate(() => window.axe.run());
    const where = `${colorScheme} ${viewport.width}`;
    found.axe.push(...violations.map((one) => `${where}: ${one.impact}: ${one.id}: ${one.nodes[0].html.slice(0, 200)}`));
    if (await view.page.evaluate(() => document.documentElement.scrollWidth > innerWidth)) found.wide.push(where);
    keep(view);
    await view.context.close();
  }
}

// What the page says, between two scrapes around it.
const main = await open(browser, { viewport: DESK });
const { page } = main;
await page.goto(url);
found.values = await page.evaluate(async () => {
  const get = async (path) => (await fetch(path)).text();
  const [before, html, after] = [await get("metrics"), await get("./"), await get("metrics")];
  const shown = new DOMParser().parseFromString(html, "text/html");
  const panel = (title) =>
    [...shown.querySelectorAll("article")].find((one) => one.querySelector("h3").textContent.trim().startsWith(title));
  const curve = (title, name) => {
    const rows = [...panel(title).querySelectorAll("tbody tr")];
    return rows.find((row) => row.querySelector("th").textContent === name).querySelector("td").textContent;
  };
  const certificates = [...shown.querySelectorAll("#certificates-live tbody tr")].map((row) =>
    [...row.cells].map((cell) => cell.textContent));
  return {
    before, after, certificates,
    token: shown.getElementById("token-left").dataset.seconds,
    connections: curve("Open connections", "TLSv1.3"),
    sinceStart: curve("Cache hit ratio", "since start"),
    charts: shown.querySelectorAll("svg.chart").length,
    panels: shown.querySelectorAll("article").length,
  };
});

// By keyboard: first the way past the head, then everything in turn, each seen; the end leads out of the page.
const focused = () =>
  page.evaluate(() => {
    const one = document.activeElement;
    const box = one.getBoundingClientRect();
    const style = getComputedStyle(one);
    const name = (one.textContent || one.getAttribute("aria-label") || "").trim().slice(0, 40);
    return { tag: one.tagName, id: one.id, name, isSeen: box.bottom > 0 && box.width > 0 && style.outlineStyle !== "none" };
  });
found.keyboard = [];
for (let step = 0; step < 150; step += 1) {
  await page.keyboard.press("Tab");
  const one = await focused();
  if (one.tag === "BODY") break;
  found.keyboard.push(one);
}
await page.focus(".skip");
await page.keyboard.press("Enter");
found.afterSkip = (await focused()).id;
await page.focus("#pause");
await page.keyboard.press("Space");
found.paused = await page.textContent("#refreshing");
await page.keyboard.press("Space");
found.resumed = await page.textContent("#refreshing");

// The token's time goes on between two refreshes.
const left = async () => page.textContent("#token-left");
const begin = await left();
found.ticks = await page.waitForFunction((old) => document.getElementById("token-left").textContent !== old, begin, { timeout: 4000 })
  .then(() => true);

// A certificate with five days left shows within one refresh of its being in use; its repair too.
const expiry = async () => {
  const text = await (await fetch(`${url}metrics`)).text();
  const days = text.split("\n").filter((line) => line.startsWith("tls_certificate_expiry_days{")).map((line) => Number(line.split(" ").pop()));
  return Math.min(...days);
};
const until = async (holds) => {
  const deadline = performance.now() + 20_000;
  while (!(await holds())) {
    if (performance.now() > deadline) throw new Error("the fault did not come or go in 20 s");
  }
};
const shows = async (isFault) => {
  const begin = performance.now();
  const says = (isFault) => {
    const text = document.getElementById("alerts-live").textContent;
    return text.includes("ArtstoreTlsCertificateExpiryCritical") === isFault;
  };
  await page.waitForFunction(says, isFault, { polling: 50, timeout: 15_000 });
  return (performance.now() - begin) / 1000;
};
writeFileSync(faultFile, "certificate-5-days");
await until(async () => (await expiry()) < 7);
found.faultShownAfter = await shows(true);
found.alert = await page.textContent("#alerts-live");
found.worstCertificate = await page.textContent("#certificates-live tbody tr");
writeFileSync(faultFile, "none");
await until(async () => (await expiry()) > 7);
found.repairShownAfter = await shows(false);
keep(main);

// Out of reach: the page says so, and no longer once it is back.
await page.route("**/*", (route) => route.abort());
await page.waitForSelector("#stale:not([hidden])", { timeout: 15_000 });
found.stale = await page.textContent("#stale");
await page.unroute("**/*");
await page.waitForSelector("#stale", { state: "hidden", timeout: 15_000 });
await main.context.close();

// Without JavaScript: all but the refreshing.
const plain = await open(browser, { javaScriptEnabled: false, viewport: DESK });
await plain.page.goto(url);
found.plain = {
  charts: await plain.page.locator("svg.chart").count(),
  pause: await plain.page.locator("#pause").isVisible(),
  hint: await plain.page.locator("noscript").textContent(),
};
keep(plain);
await browser.close();
console.log(JSON.stringify(found));
