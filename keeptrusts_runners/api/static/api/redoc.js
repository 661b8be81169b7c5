"use strict";

window.addEventListener("DOMContentLoaded", () => {
  const element = document.getElementById("explorer");
  window.Redoc.init(
    element.dataset.schema,
    { disableSearch: true, expandResponses: "200,201" },
    element,
  );
});
