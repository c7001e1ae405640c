// What a person does in OHIF, done by a program: open a study, page, probe, measure, draw, reformat; prints JSON.
// Called as: node ohif.mjs PLAYWRIGHT CHROMIUM URL FOLDER STUDY
import { createRequire } from "node:module";
const [playwright, chromium, url, folder, study] = process.argv.slice(2);
const { chromium: browser } = createRequire(import.meta.url)(playwright);

const page_errors = [], said = [];
const found = { study, errors: page_errors, said };
const running = await browser.launch({
  executablePath: chromium,
  args: ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist"],
});
const page = await running.newPage({ viewport: { width: 1200, height: 900 } });
page.on("pageerror", (error) => page_errors.push(String(error)));
page.on("console", (message) => message.type() === "error" && said.push(message.text()));

// The tour for beginners lies over the images.
await page.addInitScript(() => localStorage.setItem("shownTours", JSON.stringify(["basicViewerTour"])));

const shot = (name) => page.screenshot({ path: `${folder}/${name}.png` });

// The viewport that is shown first, as OHIF holds it.
const viewport = () => {
  const [one] = window.cornerstone.getRenderingEngines().flatMap((engine) => engine.getViewports());
  return one;
};

try {
  await page.goto(`${url}/viewer?StudyInstanceUIDs=${study}`, { waitUntil: "load", timeout: 120000 });
  await page.waitForFunction(() => {
    const engines = window.cornerstone?.getRenderingEngines?.() ?? [];
    return engines.flatMap((one) => one.getViewports()).some((one) => one.getImageIds?.().length && one.getImageData?.());
  }, undefined, { timeout: 120000 });
  await page.waitForTimeout(3000);
  await shot("opened");

  found.display_sets = await page.evaluate(() =>
    window.services.displaySetService.getActiveDisplaySets().map((one) => ({
      series: one.SeriesInstanceUID, modality: one.Modality, images: one.numImageFrames, sop: one.SOPClassUID ?? null,
      reconstructable: one.isReconstructable ?? null, messages: (one.messages?.messages ?? []).map((m) => m.id),
    })));
  found.frames = await page.evaluate(async (source) => {
    const one = eval(`(${source})()`);
    const ids = one.getImageIds(), last = ids.length - 1, middle = Math.floor(last / 2), seen = [];
    for (const index of [...new Set([0, middle, last])]) {
      await one.setImageIdIndex(index);
      await new Promise((resolve) => setTimeout(resolve, 700));
      const image = one.getImageData(), values = image.scalarData ?? image.imageData.getPointData().getScalars().getData();
      const [columns, rows] = image.dimensions, range = one.getProperties().voiRange;
      const probe = (column, row) => values[row * columns + column];
      seen.push({
        index, columns, rows, low: range?.lower ?? null, high: range?.upper ?? null,
        probes: [[columns >> 1, rows >> 1], [columns >> 2, rows >> 2], [(columns * 3) >> 2, rows >> 1]].map(
          ([column, row]) => ({ column, row, value: Number(probe(column, row)) })),
      });
    }
    return { count: ids.length, seen };
  }, viewport.toString());
  await shot("paged");

  const canvas = page.locator("canvas.cornerstone-canvas").first();
  const box = await canvas.boundingBox();
  const draw = async (tool, from, to) => {
    await page.evaluate((name) => window.commandsManager.runCommand("setToolActive", { toolName: name }), tool);
    await page.waitForTimeout(400);
    const at = ([x, y]) => [box.x + box.width * x, box.y + box.height * y];
    await page.mouse.move(...at(from));
    await page.mouse.down();
    for (const part of [0.25, 0.5, 0.75, 1])
      await page.mouse.move(...at([from[0] + (to[0] - from[0]) * part, from[1] + (to[1] - from[1]) * part]), { steps: 4 });
    await page.mouse.up();
    await page.waitForTimeout(1500);
  };
  await draw("Length", [0.35, 0.4], [0.65, 0.45]);
  await draw("EllipticalROI", [0.4, 0.55], [0.6, 0.7]);
  found.measurements = await page.evaluate(() =>
    window.services.measurementService.getMeasurements().map((one) => ({
      tool: one.toolName, series: one.referenceSeriesUID, study: one.referenceStudyUID, sop: one.SOPInstanceUID,
      frame: one.frameNumber ?? null, text: (one.displayText?.primary ?? []).join(" "),
    })));
  await shot("measured");
  found.report = await page.evaluate(async () => {
    const measurementData = window.services.measurementService.getMeasurements();
    if (!measurementData.length) return null;
    const made = await window.commandsManager.runCommand("storeMeasurements", {
      measurementData, dataSource: "dicomweb", additionalFindingTypes: [], options: { SeriesDescription: "Measured", SeriesNumber: "99" },
    });
    return made?.SOPInstanceUID ?? String(made);
  }).catch((error) => `failed: ${error}`);
  found.segmentation = await page.evaluate(async () => {
    const segmentation = window.services.displaySetService.getActiveDisplaySets().find((one) => one.Modality === "SEG");
    if (!segmentation) return null;
    await segmentation.load({ headers: {} });
    await window.commandsManager.runCommand("hydrateSecondaryDisplaySet", {
      displaySet: segmentation, viewportId: window.services.viewportGridService.getActiveViewportId(),
    });
    await new Promise((resolve) => setTimeout(resolve, 4000));
    const shown = window.services.segmentationService.getSegmentations();
    return { segments: shown.reduce((sum, one) => sum + Object.keys(one.segments ?? {}).length, 0),
             referenced: segmentation.referencedDisplaySetInstanceUID ? true : false };
  }).catch((error) => `failed: ${error}`);
  await shot("segmentation");
  found.alerts = await page.locator("[data-sonner-toast]").allInnerTexts();

  if (found.display_sets.some((one) => one.reconstructable)) {
    await page.evaluate(() => window.commandsManager.runCommand("setHangingProtocol", { protocolId: "mpr" }));
    await page.waitForTimeout(8000);
    found.mpr = await page.evaluate(() =>
      window.cornerstone.getRenderingEngines().flatMap((one) => one.getViewports()).filter((one) => one.type === "orthographic")
        .map((one) => ({ spacing: one.getImageData?.()?.spacing ?? null, dimensions: one.getImageData?.()?.dimensions ?? null })));
    await shot("mpr");
  }
} catch (error) {
  found.failed = String(error);
  await shot("failed").catch(() => undefined);
}
console.log(JSON.stringify(found));
await running.close();
