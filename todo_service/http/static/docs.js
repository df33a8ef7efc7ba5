"use strict";

const page = document.getElementById("swagger-ui");
const ui = SwaggerUIBundle({
  domNode: page,
  url: page.dataset.description,
  displayRequestDuration: true,
  validatorUrl: null, // otherwise the page sends the description to another server
  onComplete() {
    if (page.dataset.token) ui.preauthorizeApiKey("bearer", page.dataset.token);
  },
});
