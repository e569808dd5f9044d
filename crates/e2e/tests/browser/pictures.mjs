// The pictures in docs/img: `.node/node_modules/.bin/node crates/e2e/tests/browser/pictures.mjs .node/node_modules URL docs/img`.
import { resolve } from "node:path";
import { DESK, PHONE, launch, open } from "./browser.mjs";

const [modules, url, folder] = process.argv.slice(2);
const browser = await launch(resolve(modules));
for (const [name, options] of [
  ["status-light", { colorScheme: "light", viewport: { ...DESK, height: 1150 } }],
  ["status-dark", { colorScheme: "dark", viewport: { ...DESK, height: 1150 } }],
  ["status-phone", { colorScheme: "light", viewport: { ...PHONE, height: 1100 } }],
]) {
  const view = await open(browser, options);
  await view.page.goto(url);
  await view.page.screenshot({ path: `${folder}/${name}.png` });
  await view.context.close();
}
await browser.close();
