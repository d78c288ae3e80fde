"use strict";

// Relative to this script, because a proxy can put a prefix before the paths.
const openapiUrl = new URL("../../openapi.json", document.currentScript.src).pathname;

const darkScheme = matchMedia("(prefers-color-scheme: dark)");
const applyColorScheme = () => document.documentElement.classList.toggle("dark-mode", darkScheme.matches);
darkScheme.addEventListener("change", applyColorScheme);
applyColorScheme();

// The default filter compares tags only.
const filterByText = (tags, phrase) => {
  const matches = (operation) =>
    [operation.get("method"), operation.get("path"), operation.getIn(["operation", "summary"])]
      .join(" ").toLowerCase().includes(phrase.toLowerCase());
  return tags
    .map((tag) => tag.update("operations", (operations) => operations.filter(matches)))
    .filter((tag) => tag.get("operations").size > 0);
};

// With examples and headers for each problem, one operation is 9,000 pixels tall. Its links lead to pages with both.
const compactResponse = (Original, system) => (props) => {
  const isProblem = props.response.hasIn(["content", "application/problem+json"]);
  if (!isProblem) return system.React.createElement(Original, props);
  const Markdown = system.getComponent("Markdown", true);
  const cell = (name, content) => system.React.createElement("td", { className: `response-col_${name}` }, content);
  const description = system.React.createElement(Markdown, { source: props.response.get("description") });
  return system.React.createElement("tr", { className: "response" },
    cell("status", props.code), cell("description", description));
};

// A new post needs an existing author: its example contains the user of the last response.
let userId = "";
const rememberUser = (response) => {
  if (response.ok && new URL(response.url).pathname.includes("/api/v1/users")) {
    userId = response.obj?.id ?? response.obj?.items?.[0]?.id ?? userId;
  }
  return response;
};
const withAuthor = (getSample) => (...args) => {
  const sample = getSample(...args);
  return userId && typeof sample === "string" ? sample.replace(/("author_id": ")[^"]*/, `$1${userId}`) : sample;
};

SwaggerUIBundle({
  url: openapiUrl,
  dom_id: "#swagger-ui",
  deepLinking: true,
  presets: [SwaggerUIBundle.presets.apis],
  plugins: [
    () => ({ fn: { opsFilter: filterByText }, wrapComponents: { response: compactResponse } }),
    ({ fn }) => ({ fn: { getSampleSchema: withAuthor(fn.getSampleSchema) } }),
  ],
  layout: "BaseLayout",
  filter: true,
  persistAuthorization: true,
  displayRequestDuration: true,
  defaultModelsExpandDepth: -1,
  validatorUrl: null,
  responseInterceptor: rememberUser,
  onComplete: () => {
    document.querySelector(".operation-filter-input").placeholder = "Filter by path, method or summary";
  },
});
