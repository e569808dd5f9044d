// Debian's Chromium under Playwright: quiet, without a profile of its own, and with all that goes wrong written down.
import { pathToFileURL } from "node:url";

export const load = async (modules, name) => import(pathToFileURL(`${modules}/${name}`).href);

export const launch = async (modules) => {
  const { chromium } = (await load(modules, "playwright-core/index.mjs"));
  return chromium.launch({
    executablePath: "/usr/bin/chromium",
    args: [
      "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
      "--disable-component-update", "--disable-sync",
    ],
  });
};

// A page, and what it asked for and complained of.
export const open = async (browser, options) => {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  const seen = { complaints: [], requests: [] };
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && seen.complaints.push(message.text()));
  page.on("pageerror", (error) => seen.complaints.push(String(error)));
  page.on("request", (request) => seen.requests.push(request.url()));
  return { context, page, seen };
};

export const DESK = { width: 1280, height: 900 };
export const PHONE = { width: 360, height: 780 };
