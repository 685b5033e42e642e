// What must not be in the source, checked by reading it.
import { describe, expect, it } from "vitest";

const sources = import.meta.glob("../src/*.ts", { query: "?raw", import: "default", eager: true }) as Record<string, string>;
const pages = import.meta.glob(["../index.html", "../public/*.svg"], { query: "?raw", import: "default", eager: true }) as Record<string, string>;

describe("the source", () => {
  it("is all here", () => {
    expect(Object.keys(sources).length).toBeGreaterThan(20);
    expect(Object.keys(pages)).toHaveLength(2);
  });

  it.each(Object.entries(sources))("%s makes no markup and no code from text", (_, text) => {
    for (const sink of ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "DOMParser", "createContextualFragment", "srcdoc", "eval(", "new Function"]) {
      expect(text).not.toContain(sink);
    }
  });

  it.each(Object.entries({ ...sources, ...pages }))("%s names no other host", (name, text) => {
    const urls = text.match(/(?:https?:)?\/\/[a-z0-9.-]+\.[a-z]{2,}/gi) ?? [];
    expect(urls.filter((url) => !(name.endsWith(".svg") && url.includes("www.w3.org")))).toEqual([]);
  });

  it("has no styles in attributes: the page's policy forbids them", () => {
    for (const text of Object.values(pages)) expect(text).not.toMatch(/\sstyle=/);
  });
});
