"use strict";

window.addEventListener("DOMContentLoaded", () => {
  const element = document.getElementById("explorer");
  window.SwaggerUIBundle({
    url: element.dataset.schema,
    domNode: element,
    deepLinking: true,
    persistAuthorization: false,
    validatorUrl: null,
  });
});
