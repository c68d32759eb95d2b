// See check-report.
const { readFileSync } = require("fs");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const puppeteer = require("puppeteer-core");
const [executablePath, report, screenshot, selector, theme = "light"] = process.argv.slice(2);

(async () => {
  const browser = await puppeteer.launch({ executablePath, args: ["--no-sandbox", "--disable-gpu"] });
  let faults = 0;
  const fault = (text) => {
    faults += 1;
    console.log(`fault: ${text}`);
  };
  try {
    const page = await browser.newPage();
    page.on("request", (request) => {
      if (request.url() !== `file://${report}` && !request.url().startsWith("data:")) fault(`requests ${request.url()}`);
    });
    for (const theme of ["light", "dark"]) {
      await page.setViewport({ width: 1280, height: 900 });
      await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: theme }]);
      await page.goto(`file://${report}`);
      await page.$$eval("details", (all) => all.forEach((one) => (one.open = true)));
      await page.evaluate(axe);
      const found = await page.evaluate(() => window.axe.run({ resultTypes: ["violations"] }));
      for (const { id, impact, help, nodes } of found.violations) {
        fault(`${theme}: ${id} (${impact}): ${help}, ${nodes.length} times, first ${nodes[0].html.slice(0, 120)}`);
      }
      console.log(`${theme}: axe-core ${found.testEngine.version}: ${found.violations.length} violations`);
    }
    await page.setViewport({ width: 380, height: 800 });
    const width = await page.evaluate(() => document.documentElement.scrollWidth);
    if (width > 380) fault(`${width} pixels wide on a phone of 380`);
    await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: "light" }]);
    const pdf = await page.pdf({ format: "A4", printBackground: true });
    const pages = (Buffer.from(pdf).toString("latin1").match(/\/Type\s*\/Page[^s]/g) || []).length;
    console.log(`prints on ${pages} pages of A4`);
    if (screenshot) {
      await page.setViewport({ width: 1160, height: 1000, deviceScaleFactor: 1 });
      await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: theme }]);
      await page.goto(`file://${report}`);
      const part = selector && selector !== "-" ? await page.$(selector) : page;
      if (!part) throw new Error(`nothing matches ${selector}`);
      await part.screenshot({ path: screenshot });
    }
  } finally {
    await browser.close();
  }
  console.log(faults === 0 ? "no faults" : `${faults} faults`);
  process.exit(faults === 0 ? 0 : 1);
})().catch((error) => {
  console.error(String(error));
  process.exit(1);
});
